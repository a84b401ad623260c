//! The chart: for a dozen chosen rows, how many times as fast as the best lazy peer a merge is.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::board::Row;
use super::common::contender::Role;

/// The rows, those in which a peer is faster among them: what they are called, the workload, the fan-in and the contender.
const CHOSEN: [(&str, &str, usize, &str); 12] = [
    ("13 scrapes of real exporters, K = 13", "labels/scrapes/by_ref", 13, "losertree"),
    ("the exporters on 16 machines, K = 16", "labels/machines/by_ref", 16, "losertree"),
    ("the exporters on 64 machines, K = 64", "labels/machines/by_ref", 64, "losertree"),
    ("label sets of pods, K = 16", "labels/pods/by_ref", 16, "losertree"),
    ("identifiers, K = 16", "strings/identifiers/by_ref", 16, "losertree"),
    ("URLs, K = 16", "strings/urls/by_ref", 16, "losertree"),
    ("words, K = 16", "strings/words/by_ref", 16, "losertree"),
    ("u64, uniform, K = 16", "u64/uniform", 16, "losertree"),
    ("u64, runs of 64, K = 16", "u64/runs", 16, "losertree"),
    ("u64, skewed, by a comparator, K = 16", "u64/skewed", 16, "losertree_by"),
    ("async, u64, uniform, K = 16", "async/u64/uniform", 16, "async_concrete"),
    ("async, label sets, K = 16", "async/labels/labels", 16, "async_concrete"),
];

/// In pixels: a row, a bar in it, the names on the left, the chart, the title above.
const ROW: i32 = 24;
const BAR: i32 = 14;
const NAMES: i32 = 270;
const WIDTH: i32 = 420;
const TOP: i32 = 40;

// To be read on white and on black: the background is transparent.
const TEXT: RGBColor = RGBColor(125, 133, 144);
const FASTER: RGBColor = RGBColor(56, 132, 224);
const SLOWER: RGBColor = RGBColor(209, 124, 51);

/// A row of the chart.
pub(crate) struct Bar {
    name: &'static str,
    /// The time of the best lazy peer divided by ours.
    ratio: f64,
}

/// The chosen ones of the rows that were measured.
pub(crate) fn bars(rows: &[Row]) -> Vec<Bar> {
    let bar = |&(name, workload, sources, contender): &(&'static str, &str, usize, &str)| {
        let row = rows.iter().find(|row| row.workload == workload && row.sources == sources)?;
        let ours = row.figures.iter().find(|figure| figure.contender == contender)?;
        Some(Bar { name, ratio: row.best(Role::Peer)?.ns / ours.ns })
    };
    CHOSEN.iter().filter_map(bar).collect()
}

/// Draws the bars, from 0 on, and a line at 1, where the best peer is.
pub(crate) fn draw(bars: &[Bar], path: &Path) -> Result<(), Box<dyn Error>> {
    let widest = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
    // At most the width of the chart, and not negative.
    #[allow(clippy::cast_possible_truncation)]
    let x = |ratio: f64| NAMES + (ratio / widest * f64::from(WIDTH)) as i32;
    let height = TOP + ROW * i32::try_from(bars.len())? + 10;
    let size = (u32::try_from(NAMES + WIDTH + 60)?, u32::try_from(height)?);
    let area = SVGBackend::new(path, size).into_drawing_area();

    let style = |horizontal| {
        let font = ("sans-serif", 16).into_font().color(&TEXT);
        font.pos(Pos::new(horizontal, VPos::Center))
    };
    let title = "the time of the best lazy peer ÷ ours: right of the line we are faster";
    area.draw(&Text::new(title, (20, 16), style(HPos::Left)))?;
    for (bar, top) in bars.iter().zip((TOP..).step_by(usize::try_from(ROW)?)) {
        let (middle, right) = (top + ROW / 2, x(bar.ratio));
        let color = if bar.ratio < 1.0 { SLOWER } else { FASTER };
        area.draw(&Text::new(bar.name, (NAMES - 10, middle), style(HPos::Right)))?;
        area.draw(&Rectangle::new([(NAMES, middle - BAR / 2), (right, middle + BAR / 2)], color.filled()))?;
        area.draw(&Text::new(format!("{:.2}", bar.ratio), (right + 6, middle), style(HPos::Left)))?;
    }
    area.draw(&PathElement::new([(x(1.0), TOP - 4), (x(1.0), height - 6)], TEXT.stroke_width(2)))?;
    area.present()?;
    Ok(())
}
