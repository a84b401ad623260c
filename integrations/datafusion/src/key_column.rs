use std::cmp::Ordering;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, FixedSizeBinaryArray, PrimitiveArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, BinaryType, ByteArrayType, DataType, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalDayTime, IntervalMonthDayNano, LargeBinaryType, LargeUtf8Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type, Utf8Type, i256,
};
use arrow::downcast_primitive_array;
use half::f16;
use losertree::merge::window::{Bounds, ByteColumn, Coding, Column, Rows};

/// A column of keys over an Arrow array, whose buffers it shares.
#[derive(Debug, Clone)]
pub(crate) struct KeyColumn {
    values: Values,
    /// `None` if no value is null.
    nulls: Option<NullBuffer>,
}

type Bytes<O> = ByteColumn<OffsetBuffer<O>, Buffer>;

#[derive(Debug, Clone)]
enum Values {
    I8(ScalarBuffer<i8>),
    I16(ScalarBuffer<i16>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    I128(ScalarBuffer<i128>),
    I256(ScalarBuffer<i256>),
    U8(ScalarBuffer<u8>),
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
    U64(ScalarBuffer<u64>),
    F16(ScalarBuffer<f16>),
    F32(ScalarBuffer<f32>),
    F64(ScalarBuffer<f64>),
    DayTime(ScalarBuffer<IntervalDayTime>),
    MonthDayNano(ScalarBuffer<IntervalMonthDayNano>),
    Boolean(BooleanBuffer),
    Bytes(Bytes<i32>),
    LargeBytes(Bytes<i64>),
    View(BinaryViewArray),
    Fixed(FixedSizeBinaryArray),
    Dictionary(Box<Dictionary>),
}

#[derive(Debug, Clone)]
struct Dictionary {
    keys: Indices,
    values: KeyColumn,
}

#[derive(Debug, Clone)]
enum Indices {
    I8(ScalarBuffer<i8>),
    I16(ScalarBuffer<i16>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    U8(ScalarBuffer<u8>),
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
    U64(ScalarBuffer<u64>),
}

impl Dictionary {
    #[inline]
    fn index(&self, row: usize) -> usize {
        match &self.keys {
            Indices::I8(keys) => keys[row].as_usize(),
            Indices::I16(keys) => keys[row].as_usize(),
            Indices::I32(keys) => keys[row].as_usize(),
            Indices::I64(keys) => keys[row].as_usize(),
            Indices::U8(keys) => keys[row].as_usize(),
            Indices::U16(keys) => keys[row].as_usize(),
            Indices::U32(keys) => keys[row].as_usize(),
            Indices::U64(keys) => keys[row].as_usize(),
        }
    }
}

/// A value of fixed width, in Arrow's order.
trait Number: Copy {
    /// Whether equal codes are equal values.
    const IS_EXACT: bool = true;

    fn compare(self, other: Self) -> Ordering;

    /// A smaller code means a smaller value.
    fn code(self) -> u64;
}

macro_rules! integers {
    ($($type:ty: $flip:expr),*) => {$(
        impl Number for $type {
            #[inline]
            fn compare(self, other: Self) -> Ordering {
                self.cmp(&other)
            }

            #[allow(clippy::cast_sign_loss, clippy::cast_lossless)]
            #[inline]
            fn code(self) -> u64 {
                self as u64 ^ $flip
            }
        }
    )*};
}

/// The sign of a number, which is greater than all else.
const SIGN: u64 = 1 << 63;

integers!(i8: SIGN, i16: SIGN, i32: SIGN, i64: SIGN, u8: 0, u16: 0, u32: 0, u64: 0);

macro_rules! floats {
    ($($type:ty, $bits:ty),*) => {$(
        impl Number for $type {
            #[inline]
            fn compare(self, other: Self) -> Ordering {
                self.total_cmp(&other)
            }

            #[allow(clippy::cast_lossless)]
            #[inline]
            fn code(self) -> u64 {
                let bits = self.to_bits();
                let sign: $bits = 1 << (<$bits>::BITS - 1);
                (if bits & sign == 0 { bits | sign } else { !bits }) as u64
            }
        }
    )*};
}

floats!(f16, u16, f32, u32, f64, u64);

#[inline]
const fn flipped(number: i32) -> u64 {
    (number.cast_unsigned() ^ 1 << 31) as u64
}

impl Number for IntervalDayTime {
    #[inline]
    fn compare(self, other: Self) -> Ordering {
        self.cmp(&other)
    }

    #[inline]
    fn code(self) -> u64 {
        flipped(self.days) << 32 | flipped(self.milliseconds)
    }
}

impl Number for IntervalMonthDayNano {
    const IS_EXACT: bool = false;

    #[inline]
    fn compare(self, other: Self) -> Ordering {
        self.cmp(&other)
    }

    #[inline]
    fn code(self) -> u64 {
        flipped(self.months) << 32 | flipped(self.days)
    }
}

/// A number that 64 bits do not have room for. What has room is its distance from the smallest one of a window.
trait Wide: Number + Ord {
    /// The distance from a smaller number, without the bits below `shift`.
    fn distance(self, least: Self, shift: u32) -> u64;

    /// How many bits the distance from a smaller number has.
    fn bits(self, least: Self) -> u32;
}

impl Number for i128 {
    const IS_EXACT: bool = false;

    #[inline]
    fn compare(self, other: Self) -> Ordering {
        self.cmp(&other)
    }

    #[inline]
    fn code(self) -> u64 {
        let limit = if self < 0 { i64::MIN } else { i64::MAX };
        i64::try_from(self).unwrap_or(limit).code()
    }
}

impl Wide for i128 {
    #[allow(clippy::cast_possible_truncation)]
    #[inline]
    fn distance(self, least: Self, shift: u32) -> u64 {
        (self.wrapping_sub(least).cast_unsigned() >> shift) as u64
    }

    #[inline]
    fn bits(self, least: Self) -> u32 {
        128 - self.wrapping_sub(least).leading_zeros()
    }
}

impl Number for i256 {
    const IS_EXACT: bool = false;

    #[inline]
    fn compare(self, other: Self) -> Ordering {
        self.cmp(&other)
    }

    #[inline]
    fn code(self) -> u64 {
        let limit = if self < Self::ZERO { i128::MIN } else { i128::MAX };
        self.to_i128().unwrap_or(limit).code()
    }
}

impl Wide for i256 {
    #[allow(clippy::cast_possible_truncation)]
    #[inline]
    fn distance(self, least: Self, shift: u32) -> u64 {
        let (low, high) = self.wrapping_sub(least).to_parts();
        match shift {
            0 => low as u64,
            1..128 => (low >> shift | high.cast_unsigned() << (128 - shift)) as u64,
            _ => (high.cast_unsigned() >> (shift - 128)) as u64,
        }
    }

    #[inline]
    fn bits(self, least: Self) -> u32 {
        match self.wrapping_sub(least).to_parts() {
            (low, 0) => 128 - low.leading_zeros(),
            (_, high) => 256 - high.leading_zeros(),
        }
    }
}

/// Evaluates an expression for whatever type the numbers of a column have.
macro_rules! each_number {
    ($values:expr, $buffer:ident => $then:expr, else $otherwise:expr) => {
        match $values {
            Values::I8($buffer) => $then,
            Values::I16($buffer) => $then,
            Values::I32($buffer) => $then,
            Values::I64($buffer) => $then,
            Values::I128($buffer) => $then,
            Values::I256($buffer) => $then,
            Values::U8($buffer) => $then,
            Values::U16($buffer) => $then,
            Values::U32($buffer) => $then,
            Values::U64($buffer) => $then,
            Values::F16($buffer) => $then,
            Values::F32($buffer) => $then,
            Values::F64($buffer) => $then,
            Values::DayTime($buffer) => $then,
            Values::MonthDayNano($buffer) => $then,
            _ => $otherwise,
        }
    };
}

/// As [`each_number`], for two columns of one type.
macro_rules! both_numbers {
    ($left:expr, $right:expr, [$($kind:ident),*], ($a:ident, $b:ident) => $then:expr, $($rest:tt)*) => {
        match ($left, $right) {
            $((Values::$kind($a), Values::$kind($b)) => $then,)*
            $($rest)*
        }
    };
}

fn is_exact<T: Number + ArrowNativeType>(_: &ScalarBuffer<T>) -> bool {
    T::IS_EXACT
}

/// What can be made a column of.
trait KeyNative: ArrowNativeType {
    fn values(buffer: &ScalarBuffer<Self>) -> Values;
}

macro_rules! key_natives {
    ($($type:ty: $kind:ident),*) => {$(
        impl KeyNative for $type {
            fn values(buffer: &ScalarBuffer<Self>) -> Values {
                Values::$kind(buffer.clone())
            }
        }
    )*};
}

key_natives!(
    i8: I8, i16: I16, i32: I32, i64: I64, i128: I128, i256: I256, u8: U8, u16: U16, u32: U32, u64: U64, f16: F16, f32: F32,
    f64: F64, IntervalDayTime: DayTime, IntervalMonthDayNano: MonthDayNano
);

fn numbers<T: ArrowPrimitiveType<Native: KeyNative>>(array: &PrimitiveArray<T>) -> Values {
    KeyNative::values(array.values())
}

fn bytes<T: ByteArrayType>(array: &dyn Array) -> Bytes<T::Offset>
where
    T::Offset: losertree::merge::window::Offset,
{
    let array = array.as_bytes::<T>();
    ByteColumn::new(array.offsets().clone(), array.values().clone())
}

fn dictionary<K: ArrowDictionaryKeyType>(
    array: &dyn Array,
    keys: fn(ScalarBuffer<K::Native>) -> Indices,
) -> Option<Values> {
    let array = array.as_dictionary::<K>();
    let values = KeyColumn::new(array.values())?;
    Some(Values::Dictionary(Box::new(Dictionary { keys: keys(array.keys().values().clone()), values })))
}

impl KeyColumn {
    /// Makes a column of an array, in `O(1)`; none if arrays of this type [have none](Self::is_supported).
    pub(crate) fn new(array: &ArrayRef) -> Option<Self> {
        let array = array.as_ref();
        let values = downcast_primitive_array! {
            array => numbers(array),
            DataType::Boolean => Values::Boolean(array.as_boolean().values().clone()),
            DataType::Utf8 => Values::Bytes(bytes::<Utf8Type>(array)),
            DataType::LargeUtf8 => Values::LargeBytes(bytes::<LargeUtf8Type>(array)),
            DataType::Binary => Values::Bytes(bytes::<BinaryType>(array)),
            DataType::LargeBinary => Values::LargeBytes(bytes::<LargeBinaryType>(array)),
            DataType::Utf8View => Values::View(array.as_string_view().clone().to_binary_view()),
            DataType::BinaryView => Values::View(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Values::Fixed(array.as_fixed_size_binary().clone()),
            DataType::Dictionary(key, _) => match key.as_ref() {
                DataType::Int8 => dictionary::<Int8Type>(array, Indices::I8)?,
                DataType::Int16 => dictionary::<Int16Type>(array, Indices::I16)?,
                DataType::Int32 => dictionary::<Int32Type>(array, Indices::I32)?,
                DataType::Int64 => dictionary::<Int64Type>(array, Indices::I64)?,
                DataType::UInt8 => dictionary::<UInt8Type>(array, Indices::U8)?,
                DataType::UInt16 => dictionary::<UInt16Type>(array, Indices::U16)?,
                DataType::UInt32 => dictionary::<UInt32Type>(array, Indices::U32)?,
                DataType::UInt64 => dictionary::<UInt64Type>(array, Indices::U64)?,
                _ => return None,
            },
            _ => return None,
        };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        Some(Self { values, nulls })
    }

    /// Whether arrays of a type can be made columns of as they are.
    pub(crate) fn is_supported(data_type: &DataType) -> bool {
        match data_type {
            DataType::Dictionary(_, values) => Self::is_supported(values),
            _ => {
                data_type.is_primitive()
                    || matches!(
                        data_type,
                        DataType::Boolean
                            | DataType::Utf8
                            | DataType::LargeUtf8
                            | DataType::Utf8View
                            | DataType::Binary
                            | DataType::LargeBinary
                            | DataType::BinaryView
                            | DataType::FixedSizeBinary(_)
                    )
            }
        }
    }

    /// The value of a row, if it is a string of bytes.
    #[inline]
    fn value(&self, row: usize) -> Option<&[u8]> {
        match &self.values {
            Values::Bytes(column) => Some(column.value(row)),
            Values::LargeBytes(column) => Some(column.value(row)),
            Values::View(array) => Some(array.value(row)),
            Values::Fixed(array) => Some(array.value(row)),
            Values::Dictionary(dictionary) => dictionary.values.value(dictionary.index(row)),
            _ => None,
        }
    }

    fn is_exact(&self) -> bool {
        each_number!(&self.values, buffer => is_exact(buffer), else match &self.values {
            Values::Boolean(_) => true,
            Values::Dictionary(dictionary) => dictionary.values.is_exact(),
            _ => false,
        })
    }
}

impl Column for KeyColumn {
    fn rows(&self) -> usize {
        each_number!(&self.values, buffer => buffer.len(), else match &self.values {
            Values::Boolean(buffer) => buffer.len(),
            Values::Bytes(column) => column.rows(),
            Values::LargeBytes(column) => column.rows(),
            Values::View(array) => array.len(),
            Values::Fixed(array) => array.len(),
            Values::Dictionary(dictionary) => match &dictionary.keys {
                Indices::I8(keys) => keys.len(),
                Indices::I16(keys) => keys.len(),
                Indices::I32(keys) => keys.len(),
                Indices::I64(keys) => keys.len(),
                Indices::U8(keys) => keys.len(),
                Indices::U16(keys) => keys.len(),
                Indices::U32(keys) => keys.len(),
                Indices::U64(keys) => keys.len(),
            },
            _ => 0,
        })
    }

    fn has_nulls(&self) -> bool {
        self.nulls.is_some()
            || matches!(&self.values, Values::Dictionary(dictionary) if dictionary.values.has_nulls())
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        if let Some(nulls) = &self.nulls
            && nulls.is_null(row)
        {
            return true;
        }
        match &self.values {
            Values::Dictionary(dictionary) => {
                dictionary.values.has_nulls() && dictionary.values.is_null(dictionary.index(row))
            }
            _ => false,
        }
    }

    #[inline]
    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        both_numbers!(
            &self.values, &other.values,
            [I8, I16, I32, I64, I128, I256, U8, U16, U32, U64, F16, F32, F64, DayTime, MonthDayNano],
            (a, b) => a[row].compare(b[other_row]),
            (Values::Boolean(a), Values::Boolean(b)) => a.value(row).cmp(&b.value(other_row)),
            (Values::Bytes(a), Values::Bytes(b)) => a.compare(row, b, other_row),
            (Values::LargeBytes(a), Values::LargeBytes(b)) => a.compare(row, b, other_row),
            (Values::Dictionary(a), Values::Dictionary(b)) => {
                a.values.compare(a.index(row), &b.values, b.index(other_row))
            }
            _ => self.value(row).cmp(&other.value(other_row)),
        )
    }

    #[inline]
    fn code(&self, row: usize) -> u64 {
        each_number!(&self.values, buffer => buffer[row].code(), else match &self.values {
            Values::Boolean(buffer) => u64::from(buffer.value(row)),
            Values::Dictionary(dictionary) => {
                let index = dictionary.index(row);
                // The key of a null may be any.
                if index < dictionary.values.rows() { dictionary.values.code(index) } else { 0 }
            }
            _ => self.value(row).map_or(0, |value| first_bytes(value, 0)),
        })
    }

    fn codes(ranges: &[Rows<'_, Self>], bounds: Option<Bounds<'_, Self>>, codes: &mut Vec<u64>) -> Coding {
        let Some(Rows { batch: first, .. }) = ranges.first() else { return Coding::Nothing };
        // The columns of all batches have one type.
        macro_rules! parts {
            ($kind:ident) => {
                ranges.iter().filter_map(|Rows { batch, rows }| match &batch.values {
                    Values::$kind(values) => Some(Rows { batch: values, rows: rows.clone() }),
                    _ => None,
                })
            };
        }
        macro_rules! bounds {
            ($kind:ident) => {
                bounds.and_then(|((low, low_row), (high, high_row))| match (&low.values, &high.values) {
                    (Values::$kind(low), Values::$kind(high)) => Some(((low, low_row), (high, high_row))),
                    _ => None,
                })
            };
        }
        macro_rules! wide {
            ($kind:ident) => {{
                let bounds =
                    bounds!($kind).map(|((low, low_row), (high, high_row))| (low[low_row], high[high_row]));
                let Some((least, most)) = bounds.or_else(|| {
                    wide_bounds(ranges, |column| match &column.values {
                        Values::$kind(values) => values,
                        _ => &[],
                    })
                }) else {
                    // All are null.
                    codes.extend(ranges.iter().flat_map(|range| range.rows.clone().map(|_| 0)));
                    return Coding::Exact;
                };
                let shift = most.bits(least).saturating_sub(64);
                for Rows { batch, rows } in parts!($kind) {
                    codes.extend(batch[rows].iter().map(|value| value.distance(least, shift)));
                }
                if shift == 0 { Coding::Exact } else { Coding::Inexact }
            }};
        }
        macro_rules! narrow {
            ($($kind:ident),*) => {
                match &first.values {
                    $(Values::$kind(_) => {
                        for Rows { batch, rows } in parts!($kind) {
                            codes.extend(batch[rows].iter().map(|value| value.code()));
                        }
                        if first.is_exact() { Coding::Exact } else { Coding::Inexact }
                    })*
                    Values::I128(_) => wide!(I128),
                    Values::I256(_) => wide!(I256),
                    Values::Bytes(_) => {
                        Column::codes(&parts!(Bytes).collect::<Vec<_>>(), bounds!(Bytes), codes)
                    }
                    Values::LargeBytes(_) => {
                        Column::codes(&parts!(LargeBytes).collect::<Vec<_>>(), bounds!(LargeBytes), codes)
                    }
                    Values::Boolean(_) | Values::View(_) | Values::Fixed(_) | Values::Dictionary(_) => {
                        codes_by_row(first, ranges, bounds, codes)
                    }
                }
            };
        }
        narrow!(I8, I16, I32, I64, U8, U16, U32, U64, F16, F32, F64, DayTime, MonthDayNano)
    }
}

/// The least and the greatest of the values that are not null.
fn wide_bounds<'a, T: Wide + 'a>(
    ranges: &[Rows<'a, KeyColumn>],
    values: impl Fn(&'a KeyColumn) -> &'a [T],
) -> Option<(T, T)> {
    let values = ranges.iter().flat_map(|Rows { batch, rows }| {
        let of_batch = values(batch);
        rows.clone().filter(|row| !batch.is_null(*row)).map(|row| of_batch[row])
    });
    values.fold(None, |bounds, value| {
        let (least, most) = bounds.unwrap_or((value, value));
        Some((least.min(value), most.max(value)))
    })
}

fn codes_by_row(
    first: &KeyColumn,
    ranges: &[Rows<'_, KeyColumn>],
    bounds: Option<Bounds<'_, KeyColumn>>,
    codes: &mut Vec<u64>,
) -> Coding {
    let shared = bounds.and_then(|((low, low_row), (high, high_row))| {
        let (low, high) = (low.value(low_row)?, high.value(high_row)?);
        Some(low.iter().zip(high).take_while(|(low, high)| low == high).count())
    });
    for Rows { batch, rows } in ranges {
        match shared {
            Some(shared) => codes.extend(rows.clone().map(|row| {
                if batch.is_null(row) {
                    return 0;
                }
                batch.value(row).map_or(0, |value| first_bytes(value, shared))
            })),
            None => {
                codes.extend(rows.clone().map(|row| if batch.is_null(row) { 0 } else { batch.code(row) }));
            }
        }
    }
    if first.is_exact() { Coding::Exact } else { Coding::Inexact }
}

/// Eight bytes behind a prefix as a number, zeros for those behind the end.
#[inline]
fn first_bytes(value: &[u8], prefix: usize) -> u64 {
    let value = value.get(prefix..).unwrap_or_default();
    if let Some(bytes) = value.first_chunk::<8>() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..value.len()].copy_from_slice(value);
    u64::from_be_bytes(bytes)
}
