//! Comments: lines that begin with `#`. Prometheus looks into two kinds of them, and so they can be malformed.

use super::Problem;
use super::reader::{is_blank, is_metric_byte};

/// Checks what follows the `#`, up to the end of the line. Returns whether the text goes on after it.
///
/// The lexer of Prometheus takes a NUL for the end of the text. Where it knows that a comment has begun, which is after
/// a blank, it passes over NULs instead.
pub(super) fn check(comment: &[u8], utf8_names: bool) -> Result<bool, Problem> {
    let text = skip(comment, is_blank);
    if text.len() == comment.len() {
        return Ok(!comment.contains(&0));
    }
    if text.first() == Some(&0) {
        return Ok(false);
    }
    if let Some(rest) = keyword(text, b"TYPE") {
        let metric_type = text_behind_name(rest, utf8_names)?;
        if !matches!(metric_type, b"counter" | b"gauge" | b"histogram" | b"summary" | b"untyped") {
            return Err(Problem::metric_type(metric_type));
        }
    } else if let Some(rest) = keyword(text, b"HELP") {
        str::from_utf8(text_behind_name(rest, utf8_names)?).map_err(|_| Problem::HelpNotUtf8)?;
    }
    Ok(true)
}

/// What follows a keyword and the blanks behind it, if it stands here.
fn keyword<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let behind = |text: &'a [u8], byte: u8| Some(skip(text.strip_prefix(&[byte])?, |byte| byte == 0));
    let text = word.iter().try_fold(text, |text, byte| behind(text, *byte))?;
    let is_word = text.first().is_some_and(|byte| is_blank(*byte));
    is_word.then(|| skip(text, |byte| is_blank(byte) || byte == 0))
}

/// What follows the name of a metric and one byte, which is a blank unless somebody wants to surprise.
fn text_behind_name(text: &[u8], utf8_names: bool) -> Result<&[u8], Problem> {
    let behind = match text.strip_prefix(b"\"").filter(|_| utf8_names) {
        Some(quoted) => quoted.splitn(2, |byte| *byte == b'"').nth(1).unwrap_or_default(),
        None => skip(text, is_metric_byte),
    };
    match behind {
        _ if behind.len() == text.len() || text[0].is_ascii_digit() => {
            Err(Problem::expected("the name of a metric", if text.is_empty() { b"\n" } else { text }))
        }
        [0, ..] => Err(Problem::expected("a blank", behind)),
        _ => Ok(behind.get(1..).unwrap_or_default()),
    }
}

fn skip(text: &[u8], is_skipped: impl Fn(u8) -> bool) -> &[u8] {
    let kept = text.iter().position(|byte| !is_skipped(*byte));
    &text[kept.unwrap_or(text.len())..]
}
