//! The reader and the writer of the example program `fan_in`, on texts that are made up.

use losertree_testkit::Random;

use crate::exposition::{Format, parse, write};
use crate::odd_lines::{encode, made_up, texts};

#[test]
fn no_text_panics_and_what_is_read_is_written_to_be_read_again() {
    let mut random = Random::seed(61);
    let near: Vec<_> = texts().into_iter().map(|(text, _)| text).collect();
    let mut accepted = 0;
    for _ in 0..40_000 {
        let text = made_up(&near, &mut random);
        let format = Format { keeps_empty_labels: random.chance(0.5), utf8_names: random.chance(0.5) };
        let lines = text.split(|byte| *byte == b'\n').count();
        match parse(&text, format) {
            Ok(series) => {
                let mut written = Vec::new();
                for series in &series {
                    write(&mut written, series).unwrap();
                }
                let again = parse(&written, format).map_err(|malformed| format!("{malformed:?}"));
                assert_eq!(again, Ok(series), "{}", encode(&text));
                accepted += 1;
            }
            Err(malformed) => {
                assert!((1..=lines).contains(&malformed.line), "{}: {malformed:?}", encode(&text));
                assert!(!malformed.problem.to_string().is_empty());
            }
        }
    }
    assert!(accepted > 10_000, "{accepted}");
}
