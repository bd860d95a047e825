//! Named dots between two axes, in SVG and PNG.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::chart;
use crate::error::Error;
use crate::letters::letters;

/// Dots, each with its name beside it. The lower axis is logarithmic; 0 stands a decade below the least number above it.
#[derive(Debug, Clone)]
pub struct Scatter {
    pub title: String,
    /// What the lower axis is.
    pub x: String,
    /// And the left one.
    pub y: String,
    pub dots: Vec<Dot>,
}

/// A dot of [`Scatter`].
#[derive(Debug, Clone)]
pub struct Dot {
    pub label: String,
    /// Not negative.
    pub x: f64,
    pub y: f64,
}

const SIZE: (u32, u32) = (960, 480);
const COLOUR: RGBColor = RGBColor(38, 84, 124);

impl Scatter {
    /// As an SVG document.
    ///
    /// # Errors
    /// [`Error::Draw`].
    pub fn svg(&self) -> Result<String, Error> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())?;
        Ok(svg)
    }

    /// As a PNG file.
    ///
    /// # Errors
    /// [`Error::Draw`], [`Error::Png`].
    pub fn png(&self) -> Result<Vec<u8>, Error> {
        let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area())?;
        chart::png(&pixels, SIZE)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), Error> {
        letters()?;
        self.try_draw(area).map_err(|e| Error::Draw(e.to_string()))
    }

    fn try_draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> chart::Drawn<B> {
        area.fill(&WHITE)?;
        let (zero, decades) = self.decades();
        let highest = self.dots.iter().map(|dot| dot.y).filter(|y| y.is_finite()).fold(0.0, f64::max);
        let mut drawing = ChartBuilder::on(area)
            .margin(16)
            .x_label_area_size(40)
            .y_label_area_size(72)
            .caption(&self.title, ("sans-serif", 18))
            .build_cartesian_2d(decades, 0.0..(highest * 1.15).max(1e-9))?;
        drawing
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(&self.x)
            .y_desc(&self.y)
            .label_style(("sans-serif", 13))
            .x_label_formatter(&|decade| power(*decade, zero))
            .y_label_formatter(&|value| chart::short(*value))
            .draw()?;
        for dot in self.dots.iter().filter(|dot| dot.x.is_finite() && dot.y.is_finite()) {
            let place = (if dot.x > 0.0 { dot.x.log10() } else { zero }, dot.y);
            let name = Text::new(dot.label.clone(), (8, -6), ("sans-serif", 14));
            drawing.draw_series([EmptyElement::at(place) + Circle::new((0, 0), 5, COLOUR.filled()) + name])?;
        }
        area.present()
    }

    /// Where 0 stands, and all of the lower axis, in powers of ten.
    fn decades(&self) -> (f64, Range<f64>) {
        let above = self.dots.iter().map(|dot| dot.x).filter(|x| x.is_finite() && *x > 0.0).map(f64::log10);
        let (low, high) = above.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        if low > high {
            return (0.0, -0.5..1.0);
        }
        let zero = low.floor() - 1.0;
        (zero, zero - 0.3..high.ceil().max(zero + 2.0) + 0.3)
    }
}

/// A whole power of ten, or 0 at its place.
fn power(decade: f64, zero: f64) -> String {
    match decade {
        x if (x - x.round()).abs() > 1e-6 => String::new(),
        x if (x - zero).abs() < 1e-6 => "0".into(),
        x => format!("1e{x:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dot_is_drawn_with_its_name() {
        let dot = |label: &str, x: f64, y: f64| Dot { label: label.into(), x, y };
        let dots = vec![dot("f32", 0.0, 100.0), dot("bf16", 2e-4, 90.0), dot("4bit", 0.03, 70.0)];
        let scatter = Scatter { title: "a & b".into(), x: "off".into(), y: "tokens/s".into(), dots };
        let svg = scatter.svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), 3);
        for word in ["f32", "bf16", "4bit", "a &amp; b", "tokens/s"] {
            assert!(svg.contains(word), "{word}");
        }
        assert_eq!(scatter.decades().0, -5.0);
        let png = scatter.png().unwrap();
        assert_eq!(png, scatter.png().unwrap());
        assert!(png.starts_with(b"\x89PNG"));
        assert_eq!(
            (power(-5.0, -5.0), power(-3.0, -5.0), power(-2.5, -5.0)),
            ("0".into(), "1e-3".into(), String::new())
        );
    }

    #[test]
    fn nothing_that_differs_is_drawn_too() {
        let only = Scatter { title: String::new(), x: String::new(), y: String::new(), dots: Vec::new() };
        assert!(only.svg().unwrap().contains("</svg>"));
    }
}
