//! Version ranges as package.json writes them (node-semver's grammar, without pre-releases), and PEP 440's for `requires-python`.

/// major, minor, patch
pub type Version = (u64, u64, u64);

/// One alternative is a list of bounds that all must hold; one alternative must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    alternatives: Vec<Vec<Bound>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    at_least: Option<Version>,
    below: Option<Version>,
}

const ANY: Bound = Bound { at_least: None, below: None };

impl Range {
    /// `>=18 <21 || 22.x`, `^20.1`, `~3.11`, `18 - 20`, `*`, `==3.11.*`. None = not understood.
    pub fn parse(text: &str) -> Option<Self> {
        let alternatives = text.split("||").map(alternative).collect::<Option<Vec<_>>>()?;
        Some(Self { alternatives })
    }

    pub fn holds(&self, version: Version) -> bool {
        let within = |b: &Bound| b.at_least.is_none_or(|least| version >= least) && b.below.is_none_or(|top| version < top);
        self.alternatives.iter().any(|all| all.iter().all(within))
    }

    /// A version of `major` that the range allows, the newest first: `(22, MAX, MAX)`, or the one it pins.
    pub fn in_major(&self, major: u64) -> Option<Version> {
        let newest = (major, u64::MAX, u64::MAX);
        if self.holds(newest) {
            return Some(newest);
        }
        let bounds = self.alternatives.iter().flatten();
        bounds.filter_map(|b| b.at_least).filter(|v| v.0 == major && self.holds(*v)).max()
    }
}

fn alternative(text: &str) -> Option<Vec<Bound>> {
    let text = text.trim();
    if let Some((from, to)) = text.split_once(" - ") {
        let (low, _) = partial(from.trim())?;
        let (_, high) = partial(to.trim())?;
        return Some(vec![Bound { at_least: low, below: high }]);
    }
    // `>= 18` with a space, and PEP 440's commas.
    let mut joined = text.replace(',', " ");
    for operator in [">=", "<=", "~=", "==", "!=", ">", "<", "=", "^", "~"] {
        joined = joined.replace(&format!("{operator} "), operator);
    }
    let bounds: Vec<Bound> = joined.split_whitespace().map(bound).collect::<Option<_>>()?;
    Some(if bounds.is_empty() { vec![ANY] } else { bounds })
}

fn bound(text: &str) -> Option<Bound> {
    let operators = [">=", "<=", "~=", "===", "==", "!=", ">", "<", "=", "^", "~"];
    let operator = operators.into_iter().find(|o| text.starts_with(o)).unwrap_or("");
    let (low, high) = partial(&text[operator.len()..])?;
    Some(match operator {
        ">=" => Bound { at_least: low, below: None },
        ">" => Bound { at_least: if low.map(|l| next(l, 2)) == high { high } else { high.or(low) }, below: None },
        "<" => Bound { at_least: None, below: low },
        "<=" => Bound { at_least: None, below: high },
        // An exclusion does not choose; it is left to the package manager.
        "!=" => ANY,
        "^" => Bound { at_least: low, below: low.map(|l| next(l, if l.0 > 0 { 0 } else { 1 })) },
        "~" => Bound { at_least: low, below: if text.contains('.') { low.map(|l| next(l, 1)) } else { high } },
        // PEP 440: ~=3.11 is >=3.11 and ==3.*
        "~=" => Bound { at_least: low, below: low.map(|l| next(l, if text.matches('.').count() >= 2 { 1 } else { 0 })) },
        _ => Bound { at_least: low, below: high },
    })
}

/// `22`, `22.x`, `v22.1.0`, `*`, `3.11.*` → the first version of it and the first after it.
fn partial(text: &str) -> Option<(Option<Version>, Option<Version>)> {
    let text = text.trim_start_matches('v');
    let text = text.split(['-', '+']).next().unwrap_or(text);
    let mut numbers = Vec::new();
    for part in text.split('.') {
        match part {
            "" | "x" | "X" | "*" => break,
            _ => numbers.push(part.parse::<u64>().ok()?),
        }
    }
    let at = |i: usize| numbers.get(i).copied().unwrap_or(0);
    let low = (at(0), at(1), at(2));
    Some(match numbers.len() {
        0 => (None, None),
        1 => (Some(low), Some(next(low, 0))),
        2 => (Some(low), Some(next(low, 1))),
        _ => (Some(low), Some(next(low, 2))),
    })
}

fn next(version: Version, part: u32) -> Version {
    match part {
        0 => (version.0 + 1, 0, 0),
        1 => (version.0, version.1 + 1, 0),
        _ => (version.0, version.1, version.2 + 1),
    }
}

/// The version in a file that holds only that: `.nvmrc`, `.python-version`, `runtime.txt`.
pub fn first_line(text: &str) -> Option<&str> {
    text.lines().map(|l| l.split('#').next().unwrap_or("").trim()).find(|l| !l.is_empty())
}
