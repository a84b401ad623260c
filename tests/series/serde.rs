//! Labels, chunks and series through serde: what goes in comes out, and what constructors refuse is refused.

// quickcheck hands arguments over by value.

use std::collections::BTreeMap;

use losertree::{Chunk, Labels, LabelsBuilder, Series};
use quickcheck::quickcheck;
use serde_json::{Value, from_slice, from_str, from_value, json, to_string, to_value, to_vec};

fn series(pairs: &BTreeMap<String, String>, chunks: Vec<(i64, i64, Vec<u8>)>) -> Series {
    let chunks = chunks.into_iter().map(|(min, max, data)| Chunk::new(min, max, data));
    Series::new(Labels::from_pairs(pairs).unwrap(), chunks.collect())
}

quickcheck! {
    fn series_come_back(pairs: BTreeMap<String, String>, chunks: Vec<(i64, i64, Vec<u8>)>) -> bool {
        let series = series(&pairs, chunks);
        let text = to_string(&series).unwrap();
        from_str::<Series>(&text).unwrap() == series
            && from_slice::<Series>(&to_vec(&series).unwrap()).unwrap() == series
            && from_value::<Series>(to_value(&series).unwrap()).unwrap() == series
            && from_str::<Labels>(&to_string(&series.labels).unwrap()).unwrap() == series.labels
    }

    fn labels_are_the_map_that_they_were_made_of(pairs: BTreeMap<String, String>) -> bool {
        let labels = Labels::from_pairs(&pairs).unwrap();
        to_string(&labels).unwrap() == to_string(&pairs).unwrap()
    }

    fn labels_are_read_if_they_can_be_built(pairs: Vec<(u8, String)>) -> bool {
        // Few names, so that some come twice, in any order.
        let pairs = pairs.into_iter().map(|(name, value)| (format!("n\0{}", name % 16), value));
        let mut builder = LabelsBuilder::new();
        let mut entries = Vec::new();
        for (name, value) in pairs {
            entries.push(format!("{}:{}", to_string(&name).unwrap(), to_string(&value).unwrap()));
            builder.label(name, value);
        }
        match (from_str::<Labels>(&format!("{{{}}}", entries.join(","))), builder.build()) {
            (Ok(read), Ok(built)) => read == built,
            (Err(refused), Err(error)) => refused.to_string().starts_with(&error.to_string()),
            _ => false,
        }
    }
}

#[test]
fn fields_have_their_names() {
    let labels = Labels::try_from([("job", "api"), ("__name__", "up"), ("zone", "")]).unwrap();
    let series = Series::new(labels, vec![Chunk::new(-1, 2, "\u{1}é")]);
    let text = concat!(
        r#"{"labels":{"__name__":"up","job":"api","zone":""},"#,
        r#""chunks":[{"min_time_ms":-1,"max_time_ms":2,"data":[1,195,169]}]}"#
    );
    assert_eq!(to_string(&series).unwrap(), text);
    assert_eq!(from_str::<Series>(text).unwrap(), series);
}

#[test]
fn what_is_no_label_set_is_refused() {
    let refused = |text: &str| from_str::<Labels>(text).unwrap_err().to_string();
    for (text, message) in [
        (r#"{"a":"1","b":"2","a":"1"}"#, r#"label name "a" occurs twice"#),
        (r#"[["a","1"]]"#, "expected a map from label names to label values"),
        (r#"{"a":1}"#, "expected a string"),
        (r#"{"a":null}"#, "expected a string"),
    ] {
        assert!(refused(text).contains(message), "{text}: {}", refused(text));
    }
    let within = json!({ "labels": { "a": 1 }, "chunks": [] });
    assert!(from_value::<Series>(within).is_err());
    assert!(from_value::<Series>(json!({ "labels": {} })).is_err());
    assert!(from_value::<Chunk>(json!({ "min_time_ms": 0, "max_time_ms": 0, "data": [256] })).is_err());
    assert_eq!(from_value::<Labels>(Value::Object(serde_json::Map::new())).unwrap(), Labels::new());
}
