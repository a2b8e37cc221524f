//! Holds that every public item has an example that runs: `make api-examples`.
//!
//! The rule: a type, trait, function, constant or macro has an example of its own, which asserts something; a method or an associated constant is used in an example on the page of its
//! type, where a reader finds it. Fields, variants and implementations of traits are shown by their type. rustdoc's own lint asks for an example at every method, its coverage counts files.
#![expect(clippy::unwrap_used, reason = "without rustdoc or its JSON there is nothing to do")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use serde_json::Value;

/// What is promised to others, with the features whose items are public.
const PACKAGES: [(&str, &[&str]); 2] = [("osprey-core", &["--features", "conformance"]), ("osprey", &[])];

fn main() -> ExitCode {
    let mut wanting = 0;
    for (package, features) in PACKAGES {
        let counted = Crate::read(package, features).count();
        for place in &counted.wanting {
            println!("{place}");
        }
        println!(
            "{package}: {} public items, {} of {} types, traits, functions and constants with examples of their own, {} of {} methods used in one; {} examples",
            counted.items,
            counted.own - counted.own_wanting,
            counted.own,
            counted.methods - counted.methods_wanting,
            counted.methods,
            counted.examples
        );
        wanting += counted.wanting.len();
    }
    if wanting > 0 {
        eprintln!("{wanting} public items without an example; the rule stands in tests/src/bin/api_examples.rs");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// rustdoc's JSON of a crate: what is public, by its id.
struct Crate {
    items: BTreeMap<String, Value>,
}

#[derive(Default)]
struct Counted {
    /// All that is documented, fields and variants as well.
    items: usize,
    /// Of them what needs an example of its own, and those that have none.
    own: usize,
    own_wanting: usize,
    /// Methods and associated constants, and those that no example uses.
    methods: usize,
    methods_wanting: usize,
    examples: usize,
    /// Places of what has none.
    wanting: Vec<String>,
}

impl Crate {
    fn read(package: &str, features: &[&str]) -> Self {
        let mut rustdoc = Command::new("cargo");
        // The JSON is nightly's, so this program's own toolchain must not be inherited.
        rustdoc.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTDOC").env_remove("RUSTC");
        rustdoc.args(["+nightly", "rustdoc", "--quiet", "--lib", "-p", package, "--target-dir", "target/api_examples"]);
        let built = rustdoc.args(features).args(["--", "-Z", "unstable-options", "--output-format", "json"]).status().unwrap();
        assert!(built.success(), "rustdoc of {package} failed");
        let json = std::fs::read(format!("target/api_examples/doc/{}.json", package.replace('-', "_"))).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let local = json["index"].as_object().unwrap().iter().filter(|(_, item)| item["crate_id"] == 0);
        Self { items: local.map(|(id, item)| (id.clone(), item.clone())).collect() }
    }

    fn count(&self) -> Counted {
        let mut counted = Counted::default();
        for item in self.items.values() {
            counted.items += usize::from(item["docs"].is_string());
            counted.examples += examples(item).len();
            match kind(item) {
                "struct" | "enum" | "union" | "trait" => self.count_page(item, &mut counted),
                "type_alias" | "constant" | "static" | "macro" | "proc_macro" => counted.own(item),
                "function" if !self.is_method(item) => counted.own(item),
                _ => {}
            }
        }
        assert!(counted.own > 0 && counted.methods > 0 && counted.examples > 0, "rustdoc's JSON is not understood any more");
        counted.wanting.sort();
        counted
    }

    /// A type or a trait, and all that stands on its page.
    fn count_page(&self, item: &Value, counted: &mut Counted) {
        counted.own(item);
        let members = self.members(item);
        let mut page = examples(item);
        page.extend(self.own_impls(item).flat_map(examples));
        page.extend(members.iter().flat_map(|member| examples(member)));
        let of = name(item);
        for member in members {
            counted.methods += 1;
            if examples(member).is_empty() && !page.iter().any(|example| uses(example, of, name(member))) {
                counted.methods_wanting += 1;
                counted.wanting.push(format!("{}: no example on the page of `{of}` uses `{}`", place(member), name(member)));
            }
        }
    }

    /// The functions and constants of a trait, or of a type's own implementations.
    fn members(&self, item: &Value) -> Vec<&Value> {
        let listed = if kind(item) == "trait" {
            ids(&item["inner"]["trait"]["items"])
        } else {
            self.own_impls(item).flat_map(|block| ids(&block["inner"]["impl"]["items"])).collect()
        };
        let found = listed.iter().filter_map(|id| self.items.get(id));
        found
            .filter(|member| {
                matches!(kind(member), "function" | "assoc_const") && (member["visibility"] == "public" || kind(item) == "trait")
            })
            .collect()
    }

    /// A type's implementations of no trait.
    fn own_impls<'c>(&'c self, item: &Value) -> impl Iterator<Item = &'c Value> {
        let impls = ids(&item["inner"][kind(item)]["impls"]).into_iter().filter_map(|id| self.items.get(&id));
        impls.filter(|block| block["inner"]["impl"]["trait"].is_null())
    }

    /// Whether a function stands in a trait or an implementation.
    fn is_method(&self, function: &Value) -> bool {
        let id = function["id"].to_string();
        self.items.values().any(|item| match kind(item) {
            kind @ ("impl" | "trait") => ids(&item["inner"][kind]["items"]).contains(&id),
            _ => false,
        })
    }
}

impl Counted {
    fn own(&mut self, item: &Value) {
        self.own += 1;
        if !examples(item).iter().any(|example| example.contains("assert")) {
            self.own_wanting += 1;
            self.wanting.push(format!("{}: {} `{}` has no example that asserts something", place(item), kind(item), name(item)));
        }
    }
}

fn kind(item: &Value) -> &str {
    item["inner"].as_object().and_then(|inner| inner.keys().next()).map_or("", |kind| kind)
}

fn name(item: &Value) -> &str {
    item["name"].as_str().unwrap_or_default()
}

fn place(item: &Value) -> String {
    format!("{}:{}", item["span"]["filename"].as_str().unwrap_or("?"), item["span"]["begin"][0])
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(Value::to_string).collect()
}

/// The blocks of code in an item's documentation that are run as tests.
fn examples(item: &Value) -> Vec<String> {
    let docs = item["docs"].as_str().unwrap_or_default();
    let blocks = docs.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    blocks.filter(|(info, _)| matches!(info.trim(), "" | "rust" | "should_panic")).map(|(_, code)| code.to_owned()).collect()
}

/// Whether an example calls, or implements, the member of a type.
fn uses(example: &str, of: &str, member: &str) -> bool {
    let calls = [format!(".{member}"), format!("{of}::{member}"), format!("Self::{member}"), format!("fn {member}")];
    calls.iter().any(|call| example.match_indices(call.as_str()).any(|(at, _)| !continues(&example[at + call.len()..])))
}

/// Whether a name goes on: `.get` is no call of `get` in `.get_many`.
fn continues(rest: &str) -> bool {
    rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
}
