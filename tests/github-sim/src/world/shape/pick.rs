//! Parses only what is served.

use std::borrow::Cow;

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use crate::world::shape::{FieldShape, Kind, ObjectShape, Shapes};

/// Parses a JSON object of type `ty`, skipping every field that the type does not have, which is far
/// cheaper than to build them and drop them.
pub(crate) struct Pick<'a> {
    shapes: &'a Shapes,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Anything,
    Object(&'a ObjectShape),
    Connection(Option<&'a ObjectShape>),
}

impl<'a> Pick<'a> {
    pub(crate) fn new(shapes: &'a Shapes, ty: &str) -> Self {
        let what = shapes.any(ty).map_or(What::Anything, What::Object);
        Self { shapes, what }
    }

    fn of_field(&self, field: &'a FieldShape) -> Pick<'a> {
        let what = match &field.kind {
            Kind::Leaf { .. } => What::Anything,
            Kind::Object(ty) => self.shapes.any(ty).map_or(What::Anything, What::Object),
            Kind::Connection { node, .. } => What::Connection(self.shapes.any(node)),
        };
        self.with(what)
    }

    fn with(&self, what: What<'a>) -> Pick<'a> {
        Pick {
            shapes: self.shapes,
            what,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.what {
            What::Anything => Value::deserialize(deserializer),
            What::Object(_) | What::Connection(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<Cow<'de, str>>()? {
            let inner = match self.what {
                What::Anything => Some(What::Anything),
                What::Object(_) if key == "__typename" => Some(What::Anything),
                What::Object(shape) => {
                    let field = shape.fields.get(&*key);
                    field.map(|field| self.of_field(field).what)
                }
                What::Connection(node) if key == "nodes" => Some(match node {
                    Some(shape) => What::Object(shape),
                    None => What::Anything,
                }),
                What::Connection(_) => None,
            };
            match inner {
                Some(what) => {
                    let value = access.next_value_seed(self.with(what))?;
                    map.insert(key.into_owned(), value);
                }
                None => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0));
        let what = match self.what {
            What::Connection(Some(node)) => What::Object(node),
            What::Connection(None) | What::Anything => What::Anything,
            What::Object(shape) => What::Object(shape),
        };
        while let Some(item) = access.next_element_seed(self.with(what))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
