//! Log lines on stderr: `ft-prep: message` or a JSON object a line.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::common::{Common, LogFormat};
use crate::progress::suspend;
use crate::quiet::is_quiet;

/// The field in which an event carries a JSON object whose keys are known at run time only: a line for people is that
/// object, and a line for machines has its keys among its own.
pub(crate) const FIGURES: &str = "figures";

/// Sends `tracing` events to stderr. A second call in one process changes
/// nothing.
pub(crate) fn install(tool: &'static str, common: &Common) {
    let (filter, wrong) = match filter(common, std::env::var_os("RUST_LOG").as_deref()) {
        Ok(filter) => (filter, None),
        Err(error) => (own_level(common), Some(error)),
    };
    let lines = Lines { tool, format: common.log_format };
    let layer =
        tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(lines).with_writer(|| Stderr);
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG is not understood, and without effect: {error}");
    }
}

/// What `RUST_LOG` asks for, unless -q or -v says it.
fn filter(common: &Common, rust_log: Option<&OsStr>) -> Result<EnvFilter, ParseError> {
    match rust_log.and_then(OsStr::to_str).filter(|text| !text.trim().is_empty()) {
        Some(directives) if !common.quiet && common.verbose == 0 => EnvFilter::builder().parse(directives),
        _ => Ok(own_level(common)),
    }
}

/// Our own crates only: what a dependency tells is not for the user.
fn own_level(common: &Common) -> EnvFilter {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    EnvFilter::new(format!("error,ft_={level}"))
}

/// The format that the arguments ask for, also where they cannot be parsed.
pub(crate) fn format_of(arguments: impl Iterator<Item = OsString>) -> LogFormat {
    let mut format = LogFormat::Text;
    let mut is_value = false;
    for argument in arguments {
        let text = argument.to_string_lossy();
        let text = text.replace("--log_format", "--log-format");
        let value = if is_value { Some(text.as_str()) } else { text.strip_prefix("--log-format=") };
        if let Some(value) = value {
            format = if value == "json" { LogFormat::Json } else { LogFormat::Text };
        }
        is_value = text == "--log-format";
    }
    format
}

/// Writes the one line of a failure, also before [`install`] ran.
pub(crate) fn error_line(tool: &str, format: LogFormat, message: &str) {
    let mut fields = Map::new();
    fields.insert("message".into(), message.into());
    let _ = Stderr.write_all(line(tool, format, Level::ERROR, fields).as_bytes());
}

/// The form of a line.
struct Lines {
    tool: &'static str,
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        if is_quiet() && level != Level::ERROR {
            return Ok(());
        }
        let mut fields = Fields(Map::new());
        match self.format {
            LogFormat::Text => event.record(&mut fields),
            LogFormat::Json => {
                let mut text = String::new();
                context.field_format().format_fields(Writer::new(&mut text), event)?;
                fields.0 = serde_json::from_str(&text).map_err(|_| fmt::Error)?;
            }
        }
        writer.write_str(&line(self.tool, self.format, level, fields.0))
    }
}

/// One log line with its line break.
fn line(tool: &str, format: LogFormat, level: Level, mut fields: Map<String, Value>) -> String {
    let figures = fields.shift_remove(FIGURES);
    let message = match fields.shift_remove("message") {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    match format {
        LogFormat::Text => {
            let mark = match level {
                Level::ERROR => "error: ",
                Level::WARN => "warning: ",
                _ => "",
            };
            let message = figures.as_ref().and_then(Value::as_str).unwrap_or(&message);
            let mut out = format!("{tool}: {mark}{message}");
            for (name, value) in fields {
                let _ = match value {
                    Value::String(text) => write!(out, " {name}={text}"),
                    other => write!(out, " {name}={other}"),
                };
            }
            out.push('\n');
            out
        }
        LogFormat::Json => {
            let mut object = Map::new();
            object.insert("time".into(), seconds_since_epoch().into());
            object.insert("level".into(), level.as_str().to_ascii_lowercase().into());
            object.insert("tool".into(), tool.into());
            object.insert("message".into(), message.into());
            object.extend(fields);
            let figures = figures.as_ref().and_then(Value::as_str).map(serde_json::from_str::<Map<String, Value>>);
            object.extend(figures.and_then(Result::ok).unwrap_or_default());
            let mut out = Value::Object(object).to_string();
            out.push('\n');
            out
        }
    }
}

/// Seconds since 1970 with milliseconds.
fn seconds_since_epoch() -> f64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (elapsed.as_secs_f64() * 1e3).round() / 1e3
}

/// Standard error, with the bars out of the way. A line is written at once, so that those of several threads do not mix.
/// Nobody is left to tell when it fails.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        suspend(|| {
            let _ = io::stderr().lock().write_all(line);
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects an event's fields with their types.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("message".into(), "done".into());
        fields.insert("rows".into(), 3.into());
        fields
    }

    #[test]
    fn text_names_the_tool_and_the_fields() {
        let got = line("ft-x", LogFormat::Text, Level::WARN, fields());
        assert_eq!(got, "ft-x: warning: done rows=3\n");
    }

    #[test]
    fn json_is_one_object() {
        let got = line("ft-x", LogFormat::Json, Level::INFO, fields());
        let value: Value = serde_json::from_str(&got).unwrap();
        assert_eq!(value["message"], "done");
        assert_eq!(value["rows"], 3);
        assert_eq!(value["level"], "info");
        assert!(value["time"].as_f64().unwrap() > 1.6e9);
    }

    #[test]
    fn figures_are_the_lines_own_keys() {
        let mut fields = fields();
        fields.insert(FIGURES.into(), r#"{"loss":2.5,"step":1}"#.into());
        assert_eq!(
            line("ft-x", LogFormat::Text, Level::INFO, fields.clone()),
            "ft-x: {\"loss\":2.5,\"step\":1} rows=3\n"
        );
        let value: Value = serde_json::from_str(&line("ft-x", LogFormat::Json, Level::INFO, fields)).unwrap();
        assert_eq!((&value["loss"], &value["step"], &value["message"]), (&2.5.into(), &1.into(), &"done".into()));
        assert!(value.get(FIGURES).is_none());
    }

    #[test]
    fn the_format_is_found_in_arguments_that_do_not_parse() {
        let of = |line: &str| format_of(line.split(' ').map(OsString::from));
        assert_eq!(of("--wide --log-format json x"), LogFormat::Json);
        assert_eq!(of("--log_format=json --wide"), LogFormat::Json);
        assert_eq!(of("--log-format json --log-format text"), LogFormat::Text);
        assert_eq!(of("json"), LogFormat::Text);
    }

    #[test]
    fn rust_log_counts_unless_a_flag_speaks() {
        let shown = |common: &Common, env: &str| filter(common, Some(OsStr::new(env))).map(|filter| filter.to_string());
        let plain = Common::default();
        assert_eq!(shown(&plain, "ft_model=trace").unwrap(), "ft_model=trace");
        assert!(shown(&plain, " ").unwrap().contains("ft_=info"));
        assert!(shown(&Common { quiet: true, ..plain.clone() }, "trace").unwrap().contains("ft_=warn"));
        assert!(shown(&plain, "a=b=c=loud").is_err());
    }
}
