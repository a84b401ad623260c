//! The chart: for each row, how many times faster than the naive heap the best lazy peer and the best of ours are.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::board::Row;
use super::common::contender::Role;

/// In pixels: a row, the names on the left, the chart, the legend above.
const ROW: i32 = 22;
const NAMES: i32 = 220;
const WIDTH: i32 = 560;
const TOP: i32 = 50;

const PEER: RGBColor = RGBColor(170, 170, 170);
const OURS: RGBColor = RGBColor(30, 100, 180);

/// Draws a bar for each side of each row.
pub(crate) fn draw(rows: &[Row], path: &Path) -> Result<(), Box<dyn Error>> {
    let ratio = |row: &Row, role| row.best(role).map_or(0.0, |figure| row.ratio_to_naive(figure));
    let widest =
        rows.iter().flat_map(|row| [ratio(row, Role::Peer), ratio(row, Role::Ours)]).fold(1.0, f64::max);
    // At most the width of the chart, and not negative.
    #[allow(clippy::cast_possible_truncation)]
    let x = |ratio: f64| NAMES + (ratio / widest * f64::from(WIDTH)) as i32;
    let height = TOP + ROW * i32::try_from(rows.len())? + 10;
    let size = (u32::try_from(NAMES + WIDTH + 60)?, u32::try_from(height)?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;

    let style = |horizontal| {
        let font = ("sans-serif", 12).into_font().color(&BLACK);
        font.pos(Pos::new(horizontal, VPos::Center))
    };
    let title = "times as fast as the naive heap";
    area.draw(&Text::new(title, (NAMES, 14), style(HPos::Left)))?;
    for (name, color, left) in [("best lazy peer", PEER, NAMES), ("losertree", OURS, NAMES + 120)] {
        area.draw(&Rectangle::new([(left, 27), (left + 12, 39)], color.filled()))?;
        area.draw(&Text::new(name, (left + 18, 33), style(HPos::Left)))?;
    }
    for (row, top) in rows.iter().zip((TOP..).step_by(usize::try_from(ROW)?)) {
        let name = format!("{}, K = {}", row.workload, row.sources);
        area.draw(&Text::new(name, (NAMES - 8, top + ROW / 2 - 1), style(HPos::Right)))?;
        for (role, color, top) in [(Role::Peer, PEER, top), (Role::Ours, OURS, top + 10)] {
            let right = x(ratio(row, role));
            area.draw(&Rectangle::new([(NAMES, top), (right, top + 9)], color.filled()))?;
            let figure = format!("{:.1}", ratio(row, role));
            area.draw(&Text::new(figure, (right + 4, top + 5), style(HPos::Left)))?;
        }
    }
    // The naive heap itself.
    area.draw(&PathElement::new([(x(1.0), TOP - 4), (x(1.0), height - 8)], BLACK))?;
    area.present()?;
    Ok(())
}
