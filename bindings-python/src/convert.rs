//! Documents between Python and JSON values.

use pgentra::{Error, ErrorKind};
use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use serde_json::{Map, Number, Value};

use crate::error::raised;

/// Deeper documents are refused; none of ours has half as many levels.
const MOST_LEVELS: usize = 32;

/// A document. What cannot be in one is refused with its key and type, never its value.
pub fn to_value(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    value(object, "", 0)
}

fn value(object: &Bound<'_, PyAny>, path: &str, level: usize) -> PyResult<Value> {
    let py = object.py();
    let refuse = |expected: &str, came: &str| {
        let message = format!("option `{path}`: expected {expected}, got {came}");
        Err(raised(py, &Error::new(ErrorKind::InvalidConfiguration, message)))
    };
    let class = || object.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    if level > MOST_LEVELS {
        return refuse("a plain value", "one nested too deeply");
    }
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(text) = object.cast::<PyString>() {
        match text.to_str() {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => refuse("text", "a string with surrogates, which cannot be sent"),
        }
    } else if let Ok(flag) = object.cast::<PyBool>() {
        Ok(Value::from(flag.is_true()))
    } else if object.is_instance_of::<PyInt>() {
        match object.extract::<i64>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => refuse("a number", "one that is too large"),
        }
    } else if object.is_instance_of::<PyFloat>() {
        match Number::from_f64(object.extract()?) {
            Some(number) => Ok(Value::Number(number)),
            None => refuse("a number", "one that is not finite"),
        }
    } else if let Ok(dict) = object.cast::<PyDict>() {
        let mut map = Map::new();
        for (key, item) in dict.iter() {
            let Ok(key) = key.extract::<String>() else { return refuse("names as keys", &class()) };
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

/// A value as Python's own types.
pub fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(flag) => flag.into_bound_py_any(py),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_bound_py_any(py),
            (_, Some(number)) => number.into_bound_py_any(py),
            _ => number.as_f64().into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(items) => {
            let list = PyList::empty(py);
            items.iter().try_for_each(|item| list.append(to_python(py, item)?))?;
            Ok(list.into_any())
        }
        Value::Object(map) => {
            let dict = PyDict::new(py);
            map.iter().try_for_each(|(key, item)| dict.set_item(key, to_python(py, item)?))?;
            Ok(dict.into_any())
        }
    }
}
