//! Configuration documents from Python objects.

use pgentra::{Error, ErrorKind};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use serde_json::{Map, Number, Value};

use crate::error::raised;

/// The deepest document that is accepted. The configuration needs fewer than half as many levels.
const MAX_LEVELS: usize = 32;

/// Converts a Python object to a JSON value.
///
/// # Errors
/// `invalid_configuration` for an object that JSON cannot represent. The error contains its key and type, never its
/// value.
pub fn to_value(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    value(object, "", 0)
}

fn value(object: &Bound<'_, PyAny>, path: &str, level: usize) -> PyResult<Value> {
    let py = object.py();
    let refuse = |expected: &str, actual: &str| {
        let message = format!("option `{path}`: expected {expected}, got {actual}");
        Err(raised(py, &Error::new(ErrorKind::InvalidConfiguration, message)))
    };
    let class = || object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string());
    if level > MAX_LEVELS {
        return refuse("a plain value", "a value that is nested too deeply");
    }
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(text) = object.cast::<PyString>() {
        match text.to_str() {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => refuse("text", "a string with surrogates"),
        }
    } else if let Ok(flag) = object.cast::<PyBool>() {
        Ok(Value::from(flag.is_true()))
    } else if object.is_instance_of::<PyInt>() {
        match object.extract::<i64>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => refuse("a number", "a number that is too large"),
        }
    } else if object.is_instance_of::<PyFloat>() {
        match Number::from_f64(object.extract()?) {
            Some(number) => Ok(Value::Number(number)),
            None => refuse("a number", "a number that is not finite"),
        }
    } else if let Ok(dict) = object.cast::<PyDict>() {
        let mut map = Map::new();
        for (key, item) in dict.iter() {
            let Ok(key) = key.extract::<String>() else { return refuse("text as keys", &class()) };
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            map.insert(key, value(&item, &path, level + 1)?);
        }
        Ok(Value::Object(map))
    } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let items = object.try_iter()?.enumerate();
        items
            .map(|(index, item)| value(&item?, &format!("{path}[{index}]"), level + 1))
            .collect::<PyResult<_>>()
            .map(Value::Array)
    } else if object.hasattr(intern!(py, "__fspath__"))? {
        value(&object.call_method0(intern!(py, "__fspath__"))?, path, level + 1)
    } else {
        refuse("a plain value", &class())
    }
}
