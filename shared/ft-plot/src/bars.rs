//! Horizontal bars in SVG: one panel a unit, one group of bars a label.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::Error;
use crate::letters::letters;

/// Bars of one unit.
pub struct Panel {
    /// What the bars show, with its unit.
    pub title: String,
    pub bars: Vec<Bar>,
}

/// One bar.
pub struct Bar {
    pub label: String,
    /// Bars of a series have one colour; the legend names them where there are several.
    pub series: String,
    pub value: f64,
}

const WIDTH: i32 = 960;
const LABELS: i32 = 300;
const VALUES: i32 = 80;
const MARGIN: i32 = 16;
const HEAD: i32 = 48;
const TITLE: i32 = 30;
const LEGEND: i32 = 24;
const BAR: i32 = 16;
const GAP: i32 = 8;
const COLOURS: [RGBColor; 4] =
    [RGBColor(86, 156, 214), RGBColor(38, 84, 124), RGBColor(239, 142, 59), RGBColor(96, 169, 107)];
const INK: RGBColor = RGBColor(32, 32, 32);

/// The panels below each other, as one SVG document.
///
/// # Errors
/// [`Error::Draw`].
pub fn bars(title: &str, panels: &[Panel]) -> Result<String, Error> {
    letters()?;
    let height = HEAD + panels.iter().map(Panel::height).sum::<i32>() + MARGIN;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| Error::Draw(e.to_string()))?;
        text(&area, title, (MARGIN, MARGIN), 17, HPos::Left).map_err(Error::Draw)?;
        let mut top = HEAD;
        for panel in panels {
            panel.draw(&area, top).map_err(Error::Draw)?;
            top += panel.height();
        }
        area.present().map_err(|e| Error::Draw(e.to_string()))?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Panel {
    /// Series in the order of their first bar.
    fn series(&self) -> Vec<&str> {
        let mut series: Vec<&str> = Vec::new();
        for bar in &self.bars {
            if !series.contains(&bar.series.as_str()) {
                series.push(&bar.series);
            }
        }
        series
    }

    /// Whether bar `i` begins a new label.
    fn begins(&self, i: usize) -> bool {
        i == 0 || self.bars[i].label != self.bars[i - 1].label
    }

    fn legend(&self) -> i32 {
        if self.series().len() > 1 { LEGEND } else { 0 }
    }

    fn height(&self) -> i32 {
        let groups = (0..self.bars.len()).filter(|&i| self.begins(i)).count();
        TITLE + self.legend() + self.bars.len() as i32 * BAR + groups as i32 * GAP + MARGIN
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Result<(), String> {
        let series = self.series();
        let colour = |name: &str| COLOURS[series.iter().position(|s| *s == name).unwrap_or(0) % COLOURS.len()];
        text(area, &self.title, (MARGIN, top), 15, HPos::Left)?;
        if self.legend() > 0 {
            for (i, name) in series.iter().enumerate() {
                let x = LABELS + i as i32 * 130;
                rectangle(area, (x, top + TITLE + 2), (x + 12, top + TITLE + 14), colour(name))?;
                text(area, name, (x + 18, top + TITLE + 1), 12, HPos::Left)?;
            }
        }
        let longest = self.bars.iter().map(|bar| bar.value).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let room = f64::from(WIDTH - LABELS - VALUES - MARGIN);
        let mut y = top + TITLE + self.legend() - GAP;
        for (i, bar) in self.bars.iter().enumerate() {
            if self.begins(i) {
                y += GAP;
                text(area, &bar.label, (LABELS - 10, y + 1), 12, HPos::Right)?;
            }
            let share = if longest > 0.0 && bar.value.is_finite() { bar.value / longest } else { 0.0 };
            let end = LABELS + (share * room).round().max(1.0) as i32;
            rectangle(area, (LABELS, y + 1), (end, y + BAR - 1), colour(&bar.series))?;
            text(area, &figure(bar.value), (end + 6, y + 1), 12, HPos::Left)?;
            y += BAR;
        }
        Ok(())
    }
}

/// Three digits and more are enough to read.
pub fn figure(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        x if x >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn rectangle(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Result<(), String> {
    area.draw(&Rectangle::new([from, to], colour.filled())).map_err(|e| e.to_string())
}

fn text(area: &Area<'_>, words: &str, at: (i32, i32), size: i32, anchor: HPos) -> Result<(), String> {
    let style = ("sans-serif", size).into_font().color(&INK).pos(Pos::new(anchor, VPos::Top));
    area.draw(&Text::new(words.to_owned(), at, style)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_odd_values_drawn() {
        let bar = |label: &str, series: &str, value| Bar { label: label.into(), series: series.into(), value };
        let some = vec![
            bar("a < b & c", "1 thread", 3.0),
            bar("a < b & c", "2 threads", f64::NAN),
            bar("zero", "1 thread", 0.0),
        ];
        let svg = bars("title", &[Panel { title: "GFLOP/s".into(), bars: some }]).unwrap();
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("2 threads"), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 3, "background, legend, bars");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([1234.5, 12.34, 1.234, 0.01234].map(figure), ["1234", "12.3", "1.23", "0.012"]);
    }
}
