//! What holds and what does not, as JUnit XML.

use std::io::Write;

use anyhow::{Context, Result};
use ft_io::NamedValue;
use ft_io::output::Output;
use ft_measure::Comparison;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::checks::Check;
use super::words::told;

const NAME: &str = "ft-eval compare";

/// Writes one test suite: a test case a metric, which says the figures, and one a bound, which fails where it does not
/// hold. `title` names the two sides.
pub fn write(mut output: Output, name: &str, title: &str, compared: &[Comparison], checks: &[Check]) -> Result<()> {
    let mut bytes = Vec::new();
    document(&mut bytes, title, compared, checks).context("cannot make JUnit XML")?;
    output.write_all(&bytes).with_context(|| format!("cannot write '{name}'"))?;
    Ok(output.commit()?)
}

fn document(bytes: &mut Vec<u8>, title: &str, compared: &[Comparison], checks: &[Check]) -> std::io::Result<()> {
    let tests = (compared.len() + checks.len()).to_string();
    let failures = checks.iter().filter(|check| !check.holds).count().to_string();
    let counts = [("tests", tests.as_str()), ("failures", &failures), ("errors", "0"), ("skipped", "0")];
    let mut xml = Writer::new_with_indent(bytes, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = BytesStart::new("testsuites").with_attributes([("name", NAME)]).with_attributes(counts);
    xml.write_event(Event::Start(all))?;
    let suite = BytesStart::new("testsuite").with_attributes([("name", title)]).with_attributes(counts);
    xml.write_event(Event::Start(suite))?;
    for comparison in compared {
        case(&mut xml, comparison.metric.name(), "metric", ("system-out", None, &told(comparison)))?;
    }
    for check in checks {
        let told = check.told();
        let inner = if check.holds { ("system-out", None, &told) } else { ("failure", Some(&told), &told) };
        case(&mut xml, &check.option, "bound", inner)?;
    }
    xml.write_event(Event::End(BytesEnd::new("testsuite")))?;
    xml.write_event(Event::End(BytesEnd::new("testsuites")))?;
    xml.get_mut().write_all(b"\n")
}

/// A test case with one element in it: its name, its message, its text.
fn case(
    xml: &mut Writer<&mut Vec<u8>>,
    name: &str,
    kind: &str,
    (element, message, text): (&str, Option<&String>, &String),
) -> std::io::Result<()> {
    let class = format!("{NAME}.{kind}").replace(' ', ".");
    let case = [("name", name), ("classname", &class), ("time", "0")];
    xml.write_event(Event::Start(BytesStart::new("testcase").with_attributes(case)))?;
    let attributes = message.map(|message| ("message", message.as_str()));
    xml.write_event(Event::Start(BytesStart::new(element).with_attributes(attributes)))?;
    xml.write_event(Event::Text(BytesText::new(text)))?;
    xml.write_event(Event::End(BytesEnd::new(element)))?;
    xml.write_event(Event::End(BytesEnd::new("testcase")))
}
