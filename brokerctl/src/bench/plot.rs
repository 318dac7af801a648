//! A run as a picture (SVG): latency by percentile, and throughput, CPU and memory over time. Never measures.

use std::fmt::Write;

use super::figures::Durations;
use super::watch::Sample;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 90.0;
const GAP: f64 = 60.0;
const COLOURS: [&str; 4] = ["#0b6", "#06c", "#c40", "#808"];

/// What is to be drawn.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    title: String,
    curves: Vec<Line>,
    lines: Vec<(&'static str, Line)>,
}

#[derive(Clone, Debug)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Where one diagram is, and what its axes say.
struct Axes<'a> {
    top: f64,
    label: &'a str,
    below: &'a str,
    marks: Vec<(f64, String)>,
}

impl Plot {
    /// Nothing yet.
    pub(crate) fn of(scenario: &str) -> Self {
        Self { title: format!("brokerctl bench {scenario}"), curves: vec![], lines: vec![] }
    }

    /// A curve of percentiles, of durations in microseconds.
    pub(crate) fn curve(&mut self, name: &str, durations: &Durations) {
        // By nines: 0 is the minimum, 1 is 90 %, 2 is 99 %.
        let points = (0..=80).map(|step| f64::from(step) / 20.0);
        let points = points.map(|nines| (nines, durations.microseconds(100.0 - 100.0 / 10_f64.powf(nines))));
        self.curves.push(Line { name: name.into(), points: points.collect() });
    }

    /// What was seen over time.
    pub(crate) fn series(&mut self, series: &[Sample]) {
        let Some(first) = series.first() else { return };
        let seconds = |sample: &Sample| (sample.time - first.time) as f64 / 1e9;
        let per_second = |of: &dyn Fn(&Sample) -> f64| {
            let steps = series.iter().zip(series.iter().skip(1));
            steps.map(|(one, next)| (seconds(next), (of(next) - of(one)) / (seconds(next) - seconds(one)))).collect()
        };
        let line = |name: &str, points| Line { name: name.into(), points };
        self.lines.push(("a second", line("messages done", per_second(&|sample| sample.done as f64))));
        if first.cpu.is_some() {
            let cores = per_second(&|sample| sample.cpu.unwrap_or(0) as f64 / 1e9);
            self.lines.push(("cores", line("CPU of the broker", cores)));
        }
        if first.memory.is_some() {
            let of = |sample: &Sample| sample.memory.map_or(0.0, |memory| memory.resident as f64 / 1e6);
            let points = series.iter().map(|sample| (seconds(sample), of(sample))).collect();
            self.lines.push(("MB", line("memory of the broker", points)));
        }
    }

    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let mut body = String::new();
        let mut top = 50.0;
        if !self.curves.is_empty() {
            let marks = ["0", "90", "99", "99.9", "99.99"].iter().enumerate();
            let marks = marks.map(|(nines, text)| (nines as f64, (*text).to_owned())).collect();
            diagram(&mut body, &Axes { top, label: "microseconds", below: "percentile", marks }, &self.curves);
            top += HEIGHT + GAP;
        }
        for (label, line) in &self.lines {
            let end = line.points.last().map_or(1.0, |point| point.0).max(0.001);
            let marks = (0..=4).map(|part| end * f64::from(part) / 4.0).map(|at| (at, format!("{at:.1}"))).collect();
            diagram(&mut body, &Axes { top, label, below: "seconds", marks }, std::slice::from_ref(line));
            top += HEIGHT + GAP;
        }
        let (width, title) = (LEFT + WIDTH + 30.0, &self.title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{top}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{title}</text>\n{body}</svg>\n"
        )
    }
}

fn diagram(out: &mut String, axes: &Axes<'_>, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let widest = axes.marks.last().map_or(1.0, |mark| mark.0).max(f64::MIN_POSITIVE);
    let highest = points().map(|point| point.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let (x, y) = (|at: f64| LEFT + at / widest * WIDTH, |at: f64| axes.top + HEIGHT - at / highest * HEIGHT);
    let bottom = axes.top + HEIGHT;
    // Writing to a string does not fail.
    for (at, text) in &axes.marks {
        let x = x(*at);
        let _ = writeln!(out, "<path d=\"M{x:.1} {} V{bottom}\" stroke=\"#eee\"/>", axes.top);
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 16.0);
    }
    for part in 0..=4 {
        let at = highest * f64::from(part) / 4.0;
        let (y, text) = (y(at), if highest < 10.0 { format!("{at:.2}") } else { format!("{at:.0}") });
        let _ = writeln!(out, "<path d=\"M{LEFT} {y:.1} H{}\" stroke=\"#eee\"/>", LEFT + WIDTH);
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0, y + 4.0);
    }
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", axes.top - 6.0, axes.label);
    let (end, below) = (LEFT + WIDTH, bottom + 32.0);
    let _ = writeln!(out, "<text x=\"{end}\" y=\"{below}\" text-anchor=\"end\">{}</text>", axes.below);
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let each = line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)));
        let path = each.collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
    }
    for (index, (line, colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let x = LEFT + 120.0 + 160.0 * index as f64;
        let _ = writeln!(out, "<text x=\"{x}\" y=\"{}\" fill=\"{colour}\">{}</text>", axes.top - 6.0, line.name);
    }
}
