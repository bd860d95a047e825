//! Curves over the steps of a run, in SVG and PNG.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::Error;
use crate::letters::letters;

/// A line through points, such as the loss over the steps.
#[derive(Debug, Clone)]
pub struct Curve {
    pub label: String,
    /// Step and value; values that are not finite, or beyond 1e100, leave a gap.
    pub points: Vec<(f64, f64)>,
    /// Draw each point: for few of them.
    pub dots: bool,
}

/// Curves of one unit.
#[derive(Debug, Clone)]
pub struct Curves {
    /// What the curves show.
    pub title: String,
    pub curves: Vec<Curve>,
}

/// Panels below each other, all over the same steps.
#[derive(Debug, Clone)]
pub struct Chart {
    pub title: String,
    pub panels: Vec<Curves>,
}

const WIDTH: u32 = 960;
/// Of the first panel; those below it are half as high.
const HEIGHT: u32 = 400;
const HEAD: u32 = 40;
const COLOURS: [RGBColor; 4] =
    [RGBColor(38, 84, 124), RGBColor(239, 142, 59), RGBColor(96, 169, 107), RGBColor(170, 70, 90)];

impl Chart {
    /// As an SVG document.
    ///
    /// # Errors
    /// [`Error::Draw`].
    pub fn svg(&self) -> Result<String, Error> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, (WIDTH, self.height())).into_drawing_area())?;
        Ok(svg)
    }

    /// As a PNG file.
    ///
    /// # Errors
    /// [`Error::Draw`], [`Error::Png`].
    pub fn png(&self) -> Result<Vec<u8>, Error> {
        let (width, height) = (WIDTH, self.height());
        let mut pixels = vec![0; (width * height * 3) as usize];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
        png(&pixels, (width, height))
    }

    fn height(&self) -> u32 {
        HEAD + HEIGHT + self.panels.len().saturating_sub(1) as u32 * HEIGHT / 2
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), Error> {
        letters()?;
        self.try_draw(area).map_err(|e| Error::Draw(e.to_string()))
    }

    fn try_draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        area.fill(&WHITE)?;
        let mut rest = area.titled(&self.title, ("sans-serif", 18))?;
        let last = span(self.points().map(|(step, _)| step));
        for (i, panel) in self.panels.iter().enumerate() {
            let (this, below) = rest.split_vertically(if i == 0 { HEIGHT } else { HEIGHT / 2 });
            panel.draw(&this, last.clone())?;
            rest = below;
        }
        area.present()
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.panels.iter().flat_map(|p| &p.curves).flat_map(|c| c.points.iter().copied())
    }
}

/// Pixels of three bytes as a PNG file.
pub(crate) fn png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, Error> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

/// What a drawing gives back.
pub(crate) type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

impl Curves {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, steps: std::ops::Range<f64>) -> Drawn<B> {
        let values = span(self.curves.iter().flat_map(|c| &c.points).map(|&(_, value)| value));
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(72)
            .caption(&self.title, ("sans-serif", 15))
            .build_cartesian_2d(steps, values)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("step")
            .label_style(("sans-serif", 13))
            .x_label_formatter(&|step| whole(*step))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (curve, colour) in self.curves.iter().zip(COLOURS.iter().cycle().copied()) {
            let is_gap = |&(step, value): &(f64, f64)| !is_drawable(step) || !is_drawable(value);
            for piece in curve.points.split(is_gap) {
                chart.draw_series(LineSeries::new(piece.iter().copied(), colour.stroke_width(2)))?;
            }
            let dots = curve.points.iter().filter(|point| curve.dots && !is_gap(point));
            chart.draw_series(dots.map(|&point| Circle::new(point, 3, colour.filled())))?;
            // What the legend shows has a series of its own: a curve may have no piece, or several.
            chart
                .draw_series(LineSeries::new([], colour))?
                .label(&curve.label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        if self.curves.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE)
                .border_style(RGBColor(200, 200, 200))
                .label_font(("sans-serif", 13))
                .draw()?;
        }
        Ok(())
    }
}

/// Whether a value has a place: beyond, a range and its marks are no numbers any more.
fn is_drawable(value: f64) -> bool {
    value.abs() < 1e100
}

/// From the least to the greatest value that can be drawn, and never empty.
fn span(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values
        .filter(|&value| is_drawable(value))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    // Marks closer than the numbers beside them have digits would be one mark, over and over.
    let narrow = high - low <= low.abs().max(high.abs()) * 1e-6;
    let room = if narrow { low.abs().max(high.abs()).max(1e-9) * 0.5 } else { (high - low) * 0.04 };
    low - room..high + room
}

/// A step's number; nothing between two steps, where a short run has marks too.
fn whole(step: f64) -> String {
    if (step - step.round()).abs() < 1e-6 { format!("{step:.0}") } else { String::new() }
}

/// A number beside an axis.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        x if (1e-3..1e5).contains(&x) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let curve =
            |label: &str, points: &[(f64, f64)], dots| Curve { label: label.into(), points: points.into(), dots };
        let loss = vec![
            curve("loss <train>", &[(1.0, 3.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 1.5)], false),
            curve("held out", &[(4.0, 1.7)], true),
        ];
        let rate = vec![curve("learning rate", &[], false)];
        let panel = |title: &str, curves| Curves { title: title.into(), curves };
        Chart { title: "a & b".into(), panels: vec![panel("loss", loss), panel("rate", rate)] }
    }

    #[test]
    fn gaps_single_points_and_empty_curves_are_drawn() {
        let svg = chart().svg().unwrap();
        assert!(svg.contains("a &amp; b") && svg.contains("loss &lt;train&gt;"), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 1, "the evaluation's dot");
    }

    #[test]
    fn absurd_points_end_a_drawing_as_others_do() {
        let lines: [&[(f64, f64)]; 6] = [
            &[(1.0, 2.0), (1e300, 2.0)],
            &[(9_007_199_254_740_991.0, 2.0), (9_007_199_254_740_992.0, 1.0)],
            &[(-1e308, 2.0), (1e308, 1.0)],
            &[(1.0, 1e10), (2.0, 1e10 + 1e-5)],
            &[(1.0, f64::MAX), (2.0, f64::MIN)],
            &[(1.0, 5e-324), (1.8e19, 0.0)],
        ];
        for points in lines {
            let curves = vec![Curve { label: "loss".into(), points: points.into(), dots: true }];
            let panels = vec![Curves { title: "loss".into(), curves }];
            assert!(Chart { title: "run".into(), panels }.svg().unwrap().len() < 100_000, "{points:?}");
        }
    }

    #[test]
    fn the_png_has_letters_and_colours_and_is_the_same_every_time() {
        let file = chart().png().unwrap();
        assert_eq!(file, chart().png().unwrap());
        let decoder = png::Decoder::new(std::io::Cursor::new(&file));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (960, 640));
        let dark = |rows: std::ops::Range<usize>| {
            let bytes = &pixels[rows.start * 960 * 3..rows.end * 960 * 3];
            bytes.as_chunks::<3>().0.iter().filter(|p| p.iter().all(|&c| c < 100)).count()
        };
        assert!(dark(0..30) > 20, "the title: {}", dark(0..30));
        assert!(pixels.as_chunks::<3>().0.contains(&[38, 84, 124]), "the curve");
    }

    #[test]
    fn numbers_beside_an_axis_are_short() {
        assert_eq!([0.0, 2.5, 0.00002, 1234.0].map(short), ["0", "2.5", "2.0e-5", "1234"]);
    }
}
