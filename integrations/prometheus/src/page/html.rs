use std::fmt::{self, Write};

use serde_json::Value;

use super::sections::{Column, FIGURES, Kind, SECTIONS, Section};
use super::value;
use crate::status::Status;

/// A state as a page.
pub(super) fn page(status: &Status) -> String {
    let mut page = String::new();
    // A state can be written as JSON, and writing to a string does not fail.
    let _ = write_page(&mut page, &serde_json::to_value(status).unwrap_or_default());
    page
}

fn write_page(page: &mut String, status: &Value) -> fmt::Result {
    let shown = |is_shown: bool| if is_shown { "" } else { " hidden" };
    let text = |key, kind| Escaped(value::text(status, key, kind));
    write!(
        page,
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>losertree-gateway</title>
<link rel="stylesheet" href="page.css">
<script src="page.js" defer></script>
</head>
<body>
<header>
<h1>losertree-gateway</h1>
<p class="about"><span class="state" data-key="state" data-kind="text">{state}</span>
<span>version <span data-key="version" data-kind="text">{version}</span></span>
<span>up <span data-key="uptime_seconds" data-kind="seconds">{uptime}</span></span>
<span>as of <span data-key="now_ms" data-kind="time">{now}</span> UTC</span></p>
<p class="control"><button type="button" id="pause" hidden>Pause</button> <span id="connection" role="status"></span></p>
<noscript><p>Without a script, this page stays as it is. <a href="./">Load it again</a></p></noscript>
</header>
<nav aria-label="On this page">{links}</nav>
<main>
<p class="banner" role="alert" data-show="forgets_closes"{demonstration}>
<strong>This is a demonstration of a leak.</strong> The gateway was started with <code>--leak</code> and forgets to close queries
whose client goes away.</p>
<p class="banner" role="alert" data-show="overdue_sites"{overdue}>
<strong>Something was left open.</strong> <span data-key="overdue_sites" data-kind="count">{sites}</span> lines of code have opened
things that are open for longer than <span data-key="overdue_after_seconds" data-kind="seconds">{after}</span>, twice the time that
a query may take. <a href="#open_sites">What is open</a> names them.</p>
"##,
        links = Links,
        state = text("state", Kind::Text),
        version = text("version", Kind::Text),
        uptime = text("uptime_seconds", Kind::Seconds),
        now = text("now_ms", Kind::Time),
        demonstration = shown(status["forgets_closes"] == true),
        overdue = shown(status["overdue_sites"] != 0),
        sites = text("overdue_sites", Kind::Count),
        after = text("overdue_after_seconds", Kind::Seconds),
    )?;
    write_figures(page, &status["totals"])?;
    for section in SECTIONS {
        write_section(page, section, status)?;
    }
    page.push_str(
        r#"</main>
<footer><p><a href="api/v1/status/gateway">The same as JSON</a> <a href="metrics">Metrics for Prometheus</a></p></footer>
</body>
</html>
"#,
    );
    Ok(())
}

fn write_figures(page: &mut String, totals: &Value) -> fmt::Result {
    page.push_str(
        "<section aria-labelledby=\"totals\">\n<h2 id=\"totals\">Figures</h2>\n<dl class=\"figures\">\n",
    );
    for Column { key, head, kind } in FIGURES {
        writeln!(
            page,
            r#"<div><dt>{head}</dt><dd data-key="totals.{key}" data-kind="{}">{}</dd></div>"#,
            kind.name(),
            Escaped(value::text(totals, key, *kind)),
        )?;
    }
    page.push_str("</dl>\n</section>\n");
    Ok(())
}

/// Roles are written down, since a narrow page shows rows as blocks, and browsers take tables for none then.
fn write_section(page: &mut String, section: &Section, status: &Value) -> fmt::Result {
    let Section { key, title, note, is_folded, empty, columns, .. } = section;
    let (open, end) = if *is_folded { ("<details>\n<summary>", "</summary>\n") } else { ("", "\n") };
    let rows = status[key].as_array().map_or(&[][..], Vec::as_slice);
    let omitted = status["omitted"][key].as_u64();
    write!(
        page,
        "<section aria-labelledby=\"{key}\">\n{open}<h2 id=\"{key}\">{title}</h2>{end}<p class=\"note\">{note}</p>\n\
         <table role=\"table\" aria-labelledby=\"{key}\" data-rows=\"{key}\">\n<thead role=\"rowgroup\"><tr role=\"row\">"
    )?;
    for Column { key, head, kind } in *columns {
        let name = kind.name();
        write!(page, "<th role=\"columnheader\" scope=\"col\" data-key=\"{key}\" data-kind=\"{name}\"")?;
        match kind {
            Kind::Part { of } => write!(page, " data-of=\"{of}\"")?,
            Kind::Flag { word } => write!(page, " data-word=\"{word}\"")?,
            _ => {}
        }
        write!(page, ">{head}</th>")?;
    }
    page.push_str("</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for row in rows {
        write_row(page, columns, row)?;
    }
    let (is_empty, is_cut) =
        (if rows.is_empty() { "" } else { " hidden" }, if omitted.is_some() { "" } else { " hidden" });
    write!(
        page,
        "</tbody>\n</table>\n<p class=\"empty\" data-empty=\"{key}\"{is_empty}>{empty}</p>\n\
         <p class=\"omitted\" data-omitted=\"{key}\"{is_cut}>{} more are not shown.</p>\n{}</section>\n",
        value::text(&status["omitted"], key, Kind::Count),
        if *is_folded { "</details>\n" } else { "" },
    )
}

fn write_row(page: &mut String, columns: &[Column], row: &Value) -> fmt::Result {
    let is_flagged =
        columns.iter().any(|column| matches!(column.kind, Kind::Flag { .. }) && row[column.key] == true);
    page.push_str(if is_flagged { "<tr role=\"row\" class=\"flagged\">" } else { "<tr role=\"row\">" });
    for (place, Column { key, head, kind }) in columns.iter().enumerate() {
        // The first cell says which row it is.
        let (tag, role) = if place == 0 { ("th", "rowheader\" scope=\"row") } else { ("td", "cell") };
        let text = value::text(row, key, *kind);
        let none = if text == value::NONE { " none" } else { "" };
        let text = Escaped(text);
        write!(
            page,
            "<{tag} role=\"{role}\" class=\"{}{none}\" data-head=\"{head}\"><span>{text}</span>",
            kind.name()
        )?;
        if let Kind::Part { of } = kind {
            let (part, all) = (row[key].as_u64().unwrap_or(0), row[of].as_u64().unwrap_or(0));
            write!(
                page,
                "<progress aria-hidden=\"true\" max=\"{}\" value=\"{part}\"></progress>",
                all.max(1)
            )?;
        }
        write!(page, "</{tag}>")?;
    }
    page.push_str("</tr>\n");
    Ok(())
}

/// A link to each section.
struct Links;

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SECTIONS.iter().try_for_each(|Section { key, link, .. }| write!(f, "<a href=\"#{key}\">{link}</a> "))
    }
}

/// A text in HTML, as the content of an element or the value of an attribute.
struct Escaped(String);

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::status::tests::largest;

    #[test]
    fn a_page_is_bounded_and_has_no_markup_from_outside() {
        for text in ["\"><script src=//evil></script>", "'", "&lt;", "</table>", "\u{10fffd}"] {
            let page = page(&largest(text));
            assert!(page.len() < 4 << 20, "{} of {text:?}", page.len());
            // Its own, and no other.
            assert_eq!(page.matches("<script").count(), 1, "{text:?}");
            assert_eq!(page.matches("</table>").count(), SECTIONS.len(), "{text:?}");
            assert_eq!(page.contains("&lt;"), text.contains('<'), "{text:?}");
            assert_eq!(page.contains("&amp;lt;"), text == "&lt;", "{text:?}");
            assert_eq!(page.contains("&#39;"), text == "'", "{text:?}");
            assert!(page.contains("18,446,744,073,709,551,615 more are not shown."));
        }
    }

    #[test]
    fn a_page_names_only_what_a_state_has() {
        let state = serde_json::to_value(largest("text")).unwrap();
        for Column { key, .. } in FIGURES {
            assert!(state["totals"].get(key).is_some(), "{key}");
        }
        for Section { key, columns, .. } in SECTIONS {
            for column in *columns {
                assert!(state[key][0].get(column.key).is_some(), "{key}: {}", column.key);
                let Kind::Part { of } = column.kind else { continue };
                assert!(state[key][0].get(of).is_some(), "{key}: {of}");
            }
        }
    }
}
