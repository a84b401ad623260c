//! Batches that have columns: directions, nulls, codes that are put together, and strings with offsets.

use std::cmp::Ordering;

use losertree::merge::window::{
    Bounds, ByteColumn, Coding, Column, Columns, Direction, Gather, KeyColumns, Nullable, Offset, RowOrder,
    Rows, Values, WindowMerge,
};
use losertree_testkit::Random;

use crate::by_hand::{Sizes, merge_by_hand};
use crate::oracle::check_complete;

/// A value as the oracle sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Wide(i128),
    Text(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Wide,
    Text,
}

type IsNull = Box<dyn Fn(usize) -> bool>;

/// What an engine has: a type of column that is known when the program runs.
enum Any {
    Number(Values<Vec<i64>>),
    Wide(Values<Vec<i128>>),
    Text(ByteColumn<Vec<i32>, Vec<u8>>),
}

impl Column for Any {
    fn rows(&self) -> usize {
        match self {
            Self::Number(column) => column.rows(),
            Self::Wide(column) => column.rows(),
            Self::Text(column) => column.rows(),
        }
    }

    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.compare(row, b, other_row),
            (Self::Wide(a), Self::Wide(b)) => a.compare(row, b, other_row),
            (Self::Text(a), Self::Text(b)) => a.compare(row, b, other_row),
            _ => Ordering::Equal,
        }
    }

    fn code(&self, row: usize) -> u64 {
        match self {
            Self::Number(column) => column.code(row),
            Self::Wide(column) => column.code(row),
            Self::Text(column) => column.code(row),
        }
    }

    fn codes(ranges: &[Rows<'_, Self>], bounds: Option<Bounds<'_, Self>>, codes: &mut Vec<u64>) -> Coding {
        macro_rules! of {
            ($kind:ident) => {{
                let ranges: Option<Vec<_>> = ranges
                    .iter()
                    .map(|range| match range.batch {
                        Self::$kind(batch) => Some(Rows { batch, rows: range.rows.clone() }),
                        _ => None,
                    })
                    .collect();
                let bounds = match bounds {
                    Some(((Self::$kind(low), low_row), (Self::$kind(high), high_row))) => {
                        Some(((low, low_row), (high, high_row)))
                    }
                    _ => None,
                };
                Column::codes(&ranges.unwrap(), bounds, codes)
            }};
        }
        match ranges.first().map(|range| range.batch) {
            Some(Self::Number(_)) => of!(Number),
            Some(Self::Wide(_)) => of!(Wide),
            Some(Self::Text(_)) => of!(Text),
            None => Coding::Nothing,
        }
    }
}

type KeyColumn = Nullable<Any, IsNull>;
type Row = Vec<Option<Value>>;

fn column(kind: Kind, rows: &[Row], index: usize) -> KeyColumn {
    let values = rows.iter().map(|row| row[index].clone());
    let nulls: Vec<bool> = rows.iter().map(|row| row[index].is_none()).collect();
    let column = match kind {
        Kind::Number => {
            let number = |value| if let Some(Value::Number(number)) = value { number } else { 77 };
            Any::Number(Values::new(values.map(number).collect()))
        }
        Kind::Wide => {
            let number = |value| if let Some(Value::Wide(number)) = value { number } else { -5 };
            Any::Wide(Values::new(values.map(number).collect()))
        }
        Kind::Text => {
            let (mut offsets, mut data) = (vec![0], Vec::new());
            for value in values {
                if let Some(Value::Text(text)) = value {
                    data.extend(text);
                }
                offsets.push(i32::try_from(data.len()).unwrap());
            }
            Any::Text(ByteColumn::new(offsets, data))
        }
    };
    Nullable::new(column, Box::new(move |row| nulls[row]))
}

fn compare(directions: &[Direction], a: &Row, b: &Row) -> Ordering {
    let each = a.iter().zip(b).zip(directions).map(|((a, b), direction)| match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) if direction.are_nulls_first => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) if direction.are_nulls_first => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (a, b) if direction.is_descending => b.cmp(a),
        (a, b) => a.cmp(b),
    });
    each.fold(Ordering::Equal, Ordering::then)
}

fn value(kind: Kind, few: bool, extreme: bool, random: &mut Random) -> Value {
    let number = random.next_u64();
    match kind {
        Kind::Number if extreme => Value::Number([i64::MIN, i64::MIN + 1, 0, i64::MAX][random.below(4)]),
        Kind::Number if few => Value::Number(i64::try_from(number % 5).unwrap() - 2),
        Kind::Number => Value::Number(number.cast_signed() >> (number % 64)),
        Kind::Wide => Value::Wide((i128::from(number) << if extreme { 63 } else { 0 }) - (1 << 40)),
        Kind::Text => {
            let mut text = vec![b'p'; [0, 7, 8, 30][random.below(if few { 1 } else { 4 })]];
            text.extend(
                (0..random.below(if few { 3 } else { 12 })).map(|_| [0, 1, b'z', 255][random.below(4)]),
            );
            Value::Text(text)
        }
    }
}

#[test]
fn columns_of_all_kinds_in_all_directions() {
    let mut random = Random::seed(5);
    for round in 0..300 {
        let kinds: Vec<Kind> =
            (0..=random.below(4)).map(|_| [Kind::Number, Kind::Text, Kind::Wide][random.below(3)]).collect();
        let directions: Vec<Direction> = kinds
            .iter()
            .map(|_| Direction { is_descending: random.chance(0.4), are_nulls_first: random.chance(0.5) })
            .collect();
        let (few, extreme) = (random.chance(0.5), random.chance(0.2));
        let nulls = [0.0, 0.1, 0.9][random.below(3)];
        let fan_in = 1 + random.below(if round % 20 == 0 { 100 } else { 12 });
        let mut runs = Vec::new();
        for _ in 0..fan_in {
            let mut run: Vec<Row> = (0..random.below(12_000 / fan_in))
                .map(|_| {
                    let cell = |kind: &Kind| {
                        (!random.chance(nulls)).then(|| value(*kind, few, extreme, &mut random))
                    };
                    kinds.iter().map(cell).collect()
                })
                .collect();
            run.sort_by(|a, b| compare(&directions, a, b));
            runs.push(run);
        }
        let sizes = [Sizes::Mixed(700), Sizes::Huge, Sizes::Same(97)][random.below(3)];
        let sources: Vec<Vec<Vec<Row>>> = runs.iter().map(|run| sizes.cut(run, &mut random)).collect();
        let of_batch = |rows: &Vec<Row>| -> Vec<KeyColumn> {
            kinds.iter().enumerate().map(|(index, kind)| column(*kind, rows, index)).collect()
        };
        let batches = sources.iter().map(|batches| batches.iter().map(of_batch).collect()).collect();
        let order = Columns::new(directions.iter().copied());
        let out = merge_by_hand(batches, order, |random| [usize::MAX, 500][random.below(2)], &mut random);
        check_complete(&sources, &out);
        let of = |(source, batch, row): (usize, usize, usize)| &sources[source][batch][row];
        for pair in out.windows(2) {
            let order = compare(&directions, of(pair[0]), of(pair[1]));
            assert!(order.then(pair[0].0.cmp(&pair[1].0)).is_le(), "{directions:?} {pair:?}");
        }
    }
}

/// The tests above would pass if codes were never used; these are.
#[test]
fn two_columns_of_numbers_have_exact_codes() {
    let batch = vec![Values::new(vec![3_i64, 3, 4]), Values::new(vec![-7_i64, 1 << 40, -9])];
    let mut order = Columns::new([Direction::ASCENDING, Direction::DESCENDING]);
    let mut codes = Vec::new();
    let ranges = [Rows { batch: &batch, rows: 0..3 }];
    let coding = order.codes(&ranges, (&batch, 1), (&batch, 2), &mut codes);
    assert_eq!(coding, Coding::Exact);
    assert!(codes[1] < codes[0] && codes[0] < codes[2]);
}

/// A nullable column of all numbers: the nulls are a section, so no code lacks a bit.
#[test]
fn nulls_are_a_section_of_their_own() {
    let numbers = |numbers: Vec<Option<u64>>| {
        let nulls: Vec<bool> = numbers.iter().map(Option::is_none).collect();
        vec![Nullable::new(
            Values::new(numbers.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>()),
            move |row: usize| nulls[row],
        )]
    };
    let mut order = Columns::new([Direction::ASCENDING.nulls_first()]);
    let batch = numbers(vec![None, Some(0), Some(u64::MAX)]);
    let sections = [0, 1, 2].map(|row| order.section((&batch, row)));
    assert_eq!(sections, [0, 1, 1]);
    let mut codes = Vec::new();
    let ranges = [Rows { batch: &batch, rows: 1..3 }];
    assert_eq!(order.codes(&ranges, (&batch, 1), (&batch, 2), &mut codes), Coding::Exact);
    assert_eq!(codes, [0, u64::MAX]);
}

struct Table {
    keys: Vec<Values<Vec<u64>>>,
    numbers: Vec<u64>,
    texts: ByteColumn<Vec<i32>, Vec<u8>>,
}

impl KeyColumns for Table {
    type Column = Values<Vec<u64>>;

    fn key_columns(&self) -> &[Self::Column] {
        &self.keys
    }
}

fn table(keys: &[u64]) -> Table {
    let texts: Vec<String> = keys.iter().map(|key| format!("{key}").repeat((key % 7) as usize)).collect();
    let offsets = texts.iter().scan(0, |end, text| {
        *end += i32::try_from(text.len()).unwrap();
        Some(*end)
    });
    Table {
        keys: vec![Values::new(keys.to_vec())],
        numbers: keys.iter().map(|key| key * 3).collect(),
        texts: ByteColumn::new([0].into_iter().chain(offsets).collect(), texts.concat().into_bytes()),
    }
}

/// Few sources and many, short runs and long.
#[test]
fn columns_are_gathered() {
    let mut random = Random::seed(6);
    for (fan_in, stretch) in [(1, 1), (3, 1), (3, 400), (40, 1), (100, 3), (100, 300)] {
        let mut keys: Vec<Vec<u64>> = vec![Vec::new(); fan_in];
        let mut key = 0;
        while key < 20_000 {
            let source = random.below(fan_in);
            for _ in 0..=random.below(stretch) {
                keys[source].push(key);
                key += 1;
            }
        }
        let mut merge = WindowMerge::new(Columns::new([Direction::ASCENDING]), fan_in);
        let mut sources: Vec<_> =
            keys.iter().map(|keys| keys.chunks(1000).map(table).collect::<Vec<_>>().into_iter()).collect();
        let (mut numbers, mut offsets, mut data) = (Vec::new(), Vec::<i32>::new(), Vec::new());
        let mut rows = 0;
        while !merge.is_done() {
            while let Some(&source) = merge.needs().first() {
                match sources[source].next() {
                    Some(batch) => merge.supply(source, batch).unwrap(),
                    None => merge.end(source),
                }
            }
            let gather = Gather::new(&merge.next_window(5000));
            gather.values(|batch| &batch.numbers, &mut numbers);
            gather.bytes(|batch| &batch.texts, &mut offsets, &mut data).unwrap();
            gather.append_to(&mut |batch: &Table, run: std::ops::Range<usize>| {
                for row in run {
                    assert_eq!(batch.numbers[row], 3 * rows);
                    rows += 1;
                }
            });
        }
        assert_eq!(rows, key);
        assert!(numbers.into_iter().eq((0..key).map(|key| key * 3)));
        assert_eq!(offsets.len(), rows as usize + 1);
        for (key, pair) in (0..key).zip(offsets.windows(2)) {
            let text = format!("{key}").repeat((key % 7) as usize);
            assert_eq!(&data[pair[0] as usize..pair[1] as usize], text.as_bytes());
        }
    }
}

/// An offset that has room for little.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Small(u8);

impl Offset for Small {
    fn at(self) -> usize {
        usize::from(self.0)
    }
}

impl TryFrom<usize> for Small {
    type Error = std::num::TryFromIntError;

    fn try_from(at: usize) -> Result<Self, Self::Error> {
        at.try_into().map(Self)
    }
}

#[test]
fn bytes_that_do_not_fit_their_offsets_are_an_error_and_nothing_is_appended() {
    let mut merge = WindowMerge::new(Columns::new([Direction::ASCENDING]), 1);
    merge.supply(0, vec![ByteColumn::new(vec![Small(0), Small(3), Small(6)], b"abcdef".to_vec())]).unwrap();
    let gather = Gather::new(&merge.next_window(9));
    let (mut offsets, mut data) = (vec![Small(0)], vec![0; 253]);
    assert!(gather.bytes(|batch| &batch[0], &mut offsets, &mut data).is_err());
    assert_eq!((offsets.len(), data.len()), (1, 253));
    data.truncate(249);
    gather.bytes(|batch| &batch[0], &mut offsets, &mut data).unwrap();
    assert_eq!((&offsets[..], data.len()), (&[Small(0), Small(252), Small(255)][..], 255));
}

/// Offsets that fit nothing are no reason to panic.
#[test]
fn bad_offsets_make_empty_or_short_values() {
    let column = ByteColumn::new(vec![5_i64, 2, -1, 9, 100], b"0123456789".to_vec());
    let values: Vec<&[u8]> = (0..5).map(|row| column.value(row)).collect();
    assert_eq!(values, [&b""[..], b"", b"012345678", b"9", b""]);
    let mut codes = Vec::new();
    Column::codes(&[Rows { batch: &column, rows: 0..4 }], Some(((&column, 0), (&column, 3))), &mut codes);
    assert_eq!(codes.len(), 4);
}
