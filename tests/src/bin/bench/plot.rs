//! CPU per request as bars, in panels of one scale each.

use std::fmt::Display;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::cases::{Panel, Server};
use crate::figures::Outcome;
use crate::table::three_digits;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (1080, 900);
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// In the order of the legend. A hue for each server, a shade for what it promises; told apart also by who doesn't see colours.
const COLOURS: [(Server, RGBColor); 6] = [
    (Server::OspreyOs, RGBColor(0, 114, 178)),
    (Server::OspreyAlways, RGBColor(0, 62, 110)),
    (Server::Redis, RGBColor(240, 160, 110)),
    (Server::RedisEverysec, RGBColor(222, 110, 50)),
    (Server::RedisAlways, RGBColor(165, 65, 10)),
    (Server::Memcached, RGBColor(120, 185, 125)),
];

fn colour(server: Server) -> RGBColor {
    COLOURS.iter().find(|(with_colour, _)| *with_colour == server).map_or(INK, |(_, colour)| *colour)
}

/// Draws the outcomes to an SVG file.
pub(crate) fn draw(file: &Path, outcomes: &[Outcome], processor: &str) -> Result<(), String> {
    let failed = |error: &dyn Display| format!("{}: {error}", file.display());
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    draw_all(&root, outcomes, processor).and_then(|()| Ok(root.present()?)).map_err(|error| failed(&error))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw_all(root: &Area<'_>, outcomes: &[Outcome], processor: &str) -> Drawn {
    root.fill(&WHITE)?;
    let centred = |size: i32| (FONT, size).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
    let middle = i32::try_from(SIZE.0 / 2)?;
    root.draw(&Text::new("Server CPU per request: less is better".to_owned(), (middle, 24), centred(22)))?;
    root.draw(&Text::new(format!("{processor}; medians, with the range of the runs"), (middle, 50), centred(14)))?;
    legend(root, outcomes)?;
    let (_, panels) = root.split_vertically(118);
    let (upper, lower) = panels.split_vertically((SIZE.1 - 118) / 2);
    let (left, large) = lower.split_horizontally(SIZE.0 * 42 / 100);
    let (middle, right) = large.split_horizontally(SIZE.0 * 27 / 100);
    let panels = [(upper, Panel::OneByOne), (left, Panel::Pipelined), (middle, Panel::LargeGet), (right, Panel::LargeSet)];
    for (area, panel) in panels {
        let of_panel: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.case.panel == panel).collect();
        if !of_panel.is_empty() {
            draw_panel(&area, &of_panel)?;
        }
    }
    Ok(())
}

/// Only what was run, in two lines.
fn legend(root: &Area<'_>, outcomes: &[Outcome]) -> Drawn {
    let was_run = |server: Server| {
        let bars = |outcome: &Outcome| {
            outcome.case.bars.iter().any(|&at| outcome.case.entries[at].server == server && !outcome.runs[at].is_empty())
        };
        outcomes.iter().any(bars)
    };
    let text = (FONT, 14).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    for (at, (server, colour)) in (0..).zip(COLOURS.into_iter().filter(|(server, _)| was_run(*server))) {
        let (x, y) = (170 + at % 3 * 280, 78 + at / 3 * 22);
        root.draw(&Rectangle::new([(x, y - 6), (x + 16, y + 6)], colour.filled()))?;
        root.draw(&Text::new(server.label(), (x + 24, y), text.clone()))?;
    }
    Ok(())
}

/// Bars beside each other, a gap of one between cases, half of one at the edges.
fn draw_panel(area: &Area<'_>, outcomes: &[&Outcome]) -> Drawn {
    let of_case = |outcome: &&Outcome| {
        let bar = |&at: &usize| Some((outcome.case.entries[at].server, outcome.spread(at, |run| run.cpu_us)?));
        outcome.case.bars.iter().filter_map(bar).collect()
    };
    let bars: Vec<Vec<_>> = outcomes.iter().map(of_case).collect();
    let highest = bars.iter().flatten().map(|(_, spread)| spread.max).fold(0.0, f64::max);
    let width: f64 = bars.iter().map(|bars| f64::from(u32::try_from(bars.len()).unwrap_or(0)) + 1.0).sum();
    let mut chart = ChartBuilder::on(area)
        .margin_left(14)
        .margin_right(20)
        .margin_top(16)
        .x_label_area_size(56)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..width, 0.0..highest * 1.15)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(6)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .y_desc("µs of CPU a request")
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .label_style((FONT, 13).into_font().color(&INK))
        .y_label_formatter(&|us| if highest < 5.0 { format!("{us:.1}") } else { format!("{us:.0}") })
        .draw()?;
    let centred = |size: i32, vertical| (FONT, size).into_font().color(&INK).pos(Pos::new(HPos::Center, vertical));
    // Backend coordinates are pixels of the whole picture.
    let (origin_x, origin_y) = area.get_base_pixel();
    let in_area = |(x, y): (i32, i32)| (x - origin_x, y - origin_y);
    let mut begin = 0.5;
    for (outcome, bars) in outcomes.iter().zip(&bars) {
        let mut x = begin;
        for (server, spread) in bars {
            chart.draw_series([Rectangle::new([(x + 0.08, 0.0), (x + 0.92, spread.median)], colour(*server).filled())])?;
            if spread.max > spread.min {
                chart.draw_series([PathElement::new([(x + 0.5, spread.min), (x + 0.5, spread.max)], INK.stroke_width(2))])?;
            }
            let (label_x, label_y) = in_area(chart.backend_coord(&(x + 0.5, spread.max)));
            area.draw(&Text::new(three_digits(spread.median), (label_x, label_y - 4), centred(14, VPos::Bottom)))?;
            x += 1.0;
        }
        let (caption_x, caption_y) = in_area(chart.backend_coord(&(f64::midpoint(begin, x), 0.0)));
        for (line, text) in (0..).zip(outcome.case.caption) {
            let size = if line == 0 { 16 } else { 13 };
            let place = (caption_x, caption_y + 16 + 20 * line);
            area.draw(&Text::new(text, place, centred(size, VPos::Center)))?;
        }
        begin = x + 1.0;
    }
    Ok(())
}
