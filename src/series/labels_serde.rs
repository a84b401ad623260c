//! Labels in the data model of serde: a map from names to values.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::labels::{Labels, LabelsBuilder};

/// As a map from names to values, in the order of the names.
///
/// # Examples
///
/// ```
/// use losertree::Labels;
///
/// let labels = Labels::try_from([("job", "api"), ("__name__", "up")])?;
/// let json = serde_json::to_string(&labels)?;
/// assert_eq!(json, r#"{"__name__":"up","job":"api"}"#);
/// assert_eq!(serde_json::from_str::<Labels>(&json)?, labels);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self {
            map.serialize_entry(&name, &value)?;
        }
        map.end()
    }
}

/// From a map, whose names may come in any order.
///
/// # Errors
///
/// [`LabelsError::DuplicateName`](super::LabelsError::DuplicateName), as a message, if a name comes twice, and what the
/// format has to say.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from label names to label values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut builder = LabelsBuilder::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            builder.label(name, value);
        }
        builder.build().map_err(A::Error::custom)
    }
}
