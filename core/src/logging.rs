//! Passes the engine's `tracing` events to the logging of an application in another language. A Rust program does not
//! need this, because its subscriber receives them already.

use std::{
    collections::HashSet,
    fmt::{self, Write},
};

use once_cell::race::OnceBox;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
    warn,
};

use crate::runtime::ForkShared;

/// The maximum number of warnings that are remembered.
const MOST_WARNINGS: usize = 1024;

/// The receiver of events: level, target (`pgentra` or below it), message with its fields. It must not block.
pub type Sink = Box<dyn Fn(Level, &str, &str) + Send + Sync>;

/// Passes the events of targets `pgentra*` to `sink`, for the life of the process. Spans and other libraries' events
/// are left out. Returns false if a sink or another subscriber is set already.
pub fn set_sink(sink: Sink) -> bool {
    // A leak checker follows this copy, which points to the start of the block, and not the one of `tracing`.
    static SINK: OnceBox<Dispatch> = OnceBox::new();
    let dispatch = Dispatch::new(Forwarder(sink));
    let is_set = tracing::dispatcher::set_global_default(dispatch.clone()).is_ok();
    if is_set {
        let _ = SINK.set(Box::new(dispatch));
    }
    is_set
}

struct Forwarder(Sink);

impl Subscriber for Forwarder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().split("::").next() == Some("pgentra")
            && *metadata.level() <= Level::DEBUG
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = match (line.message.is_empty(), line.fields.is_empty()) {
            (_, true) => line.message,
            (true, false) => line.fields.trim_start().to_owned(),
            (false, false) => format!("{} ({})", line.message, line.fields.trim_start()),
        };
        (self.0)(*event.metadata().level(), event.metadata().target(), &text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// The warnings that were logged in this process.
static WARNED: ForkShared<HashSet<String>> = ForkShared::new();

/// Forgets the warnings that were logged.
pub(crate) fn clear() {
    WARNED.clear();
}

/// Logs a warning, once in this process.
pub(crate) fn warn_once(warning: String) {
    if is_first_warning(&warning) {
        warn!(target: "pgentra::cloud", "{warning}");
    }
}

/// Returns whether the warning is new in this process, and remembers it. The number of texts is limited, because they
/// contain host names.
pub(crate) fn is_first_warning(warning: &str) -> bool {
    let logged = WARNED.load();
    if logged.contains(warning) || logged.len() >= MOST_WARNINGS {
        return false;
    }
    WARNED.rcu(|logged| logged.iter().cloned().chain([warning.to_owned()]).collect::<HashSet<_>>());
    true
}
