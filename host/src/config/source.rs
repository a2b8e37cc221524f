//! The text of a configuration file: finds places in it, and says what is wrong with its syntax.

use super::given::Given;
use super::mistake::{Mistake, Origin, Problem};
use std::path::Path;

pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The place `offset` bytes from the beginning.
    pub(super) fn origin(&self, offset: usize) -> Origin {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        Origin::File { path: self.path.into(), line, column: before[line_start..].chars().count() + 1 }
    }

    /// What the parser found, the first of each line: it goes on behind an error, and then may stumble over the same again.
    pub(super) fn syntax_mistakes(&self, errors: &[toml::de::Error]) -> Vec<Mistake> {
        let mut found: Vec<(usize, usize, Problem)> = errors
            .iter()
            .map(|error| {
                let offset = self.text.floor_char_boundary(error.span().map_or(self.text.len(), |span| span.start));
                let line_start = self.text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
                match self.bare_value(line_start, offset) {
                    Some((start, reason)) => (line_start, start, Problem::Syntax(reason)),
                    None => (line_start, offset, Problem::Syntax(error.message().into())),
                }
            })
            .collect();
        found.sort_by_key(|&(_, offset, _)| offset);
        found.dedup_by_key(|&mut (line_start, ..)| line_start);
        found.into_iter().map(|(_, offset, problem)| Mistake { origin: self.origin(offset), problem }).collect()
    }

    /// The commonest mistake, which the parser takes for half a number: a value without its quotes. If the error at `offset` is
    /// in one, where it begins and what to say.
    fn bare_value(&self, line_start: usize, offset: usize) -> Option<(usize, String)> {
        let line = self.text[line_start..].lines().next()?;
        let (key, rest) = line.split_once('=')?;
        let value = rest.split('#').next()?.trim();
        let start = line_start + key.len() + 1 + rest.len() - rest.trim_start().len();
        let is_bare = offset > line_start + key.len() && !value.starts_with(['"', '\'', '[', '{']);
        let found = Given::Text(value);
        is_bare.then(|| (start, format!("a value must be text in quotes, a number, true or false, not {found}")))
    }
}
