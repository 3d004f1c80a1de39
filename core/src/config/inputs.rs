//! The inputs of a credential in addition to its document, and the record of the inputs that it used.

use std::{cell::RefCell, collections::BTreeSet};

use super::{Environment, variable};
use crate::{
    cloud::{self, Cloud},
    secret::Secret,
};

/// The environment variables and other settings that a credential can use while it is built.
///
/// Records each input that is read, set or not, because the cache key consists of them: credentials share their tokens
/// unless they differ in an input that one of them uses. A credential cannot keep a reference to this, so it copies what it
/// needs later, and every read is recorded.
pub struct BuildInputs<'a> {
    environment: &'a Environment,
    ca_file: Option<&'a str>,
    cloud: Cloud,
    used: RefCell<BTreeSet<Input>>,
}

/// An input that was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Input {
    /// An environment variable, by its name.
    Variable(String),
    /// The option `ca_file`.
    CaFile,
    /// The cloud of the connection.
    Cloud,
}

impl<'a> BuildInputs<'a> {
    /// Creates inputs with these variables, without `ca_file`, and with a connection to the public cloud.
    pub fn new(environment: &'a Environment) -> Self {
        BuildInputs { environment, ca_file: None, cloud: Cloud::Public, used: RefCell::default() }
    }

    /// Sets the PEM file of certificate authorities to trust in addition to the system's.
    #[must_use]
    pub fn with_ca_file(self, ca_file: Option<&'a str>) -> Self {
        BuildInputs { ca_file, ..self }
    }

    /// Sets the cloud by the scope and the server's host name of the connection.
    #[must_use]
    pub fn with_connection(self, scope: Option<&str>, host: Option<&str>) -> Self {
        BuildInputs { cloud: cloud::of_connection(scope, host), ..self }
    }

    /// Returns the value of a variable, unless it is unset or empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&'a str> {
        self.record(Input::Variable(name.to_owned()));
        variable(self.environment, name)
    }

    /// Returns whether a variable is set, even if it is empty.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.record(Input::Variable(name.to_owned()));
        self.environment.contains_key(name)
    }

    /// Returns a copy of the variables that are set, even if they are empty.
    pub(crate) fn copy(&self, names: &[&str]) -> Environment {
        let entry = |name: &&str| {
            self.record(Input::Variable((*name).to_owned()));
            Some(((*name).to_owned(), self.environment.get(*name)?.clone()))
        };
        names.iter().filter_map(entry).collect()
    }

    /// Returns the option `ca_file`.
    pub(crate) fn ca_file(&self) -> Option<&'a str> {
        self.record(Input::CaFile);
        self.ca_file
    }

    /// Returns the cloud of the connection, for a credential without its own.
    pub(crate) fn cloud(&self) -> Cloud {
        self.record(Input::Cloud);
        self.cloud
    }

    fn record(&self, input: Input) {
        self.used.borrow_mut().insert(input);
    }

    /// Returns the inputs that were read.
    pub(crate) fn used(&self) -> BTreeSet<Input> {
        self.used.borrow().clone()
    }

    /// Returns the value of an input without recording it, or `None` if it is not set.
    pub(crate) fn value(&self, input: &Input) -> Option<&str> {
        match input {
            Input::Variable(name) => self.environment.get(name).map(Secret::expose),
            Input::CaFile => self.ca_file,
            Input::Cloud => Some(self.cloud.as_str()),
        }
    }
}

impl Input {
    /// Returns the name of a variable. For other inputs, returns a text that cannot be the name of a variable.
    pub(crate) fn name(&self) -> &str {
        match self {
            Input::Variable(name) => name,
            Input::CaFile => "ca_file=",
            Input::Cloud => "cloud=",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(inputs: &BuildInputs<'_>) -> Vec<String> {
        inputs.used().iter().map(|input| input.name().to_owned()).collect()
    }

    #[test]
    fn build_inputs_record_each_input_that_is_read() {
        let environment = [("HOME", "/h"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.into())).into();
        let inputs = BuildInputs::new(&environment);
        assert_eq!(variables(&inputs), Vec::<String>::new());
        assert_eq!(
            (inputs.variable("HOME"), inputs.variable("EMPTY"), inputs.variable("UNSET")),
            (Some("/h"), None, None)
        );
        assert_eq!((inputs.is_set("EMPTY"), inputs.is_set("OTHER")), (true, false));
        assert_eq!(inputs.copy(&["HOME", "PATH", "EMPTY"]).into_keys().collect::<Vec<_>>(), ["EMPTY", "HOME"]);
        assert_eq!(variables(&inputs), ["EMPTY", "HOME", "OTHER", "PATH", "UNSET"]);
        assert_eq!((inputs.ca_file(), inputs.cloud()), (None, Cloud::Public));
        assert_eq!(inputs.used().len(), 7);
        assert_eq!(inputs.value(&Input::Variable("EMPTY".to_owned())), Some(""));
        assert_eq!(inputs.value(&Input::Variable("UNSET".to_owned())), None);
    }
}
