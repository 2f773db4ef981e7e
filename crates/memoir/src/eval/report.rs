//! The figures as a table for people or as JSON for programs, with the errors behind them where they are asked for.

use std::io::{self, Write};

use memoir_core::profile::Kind;
use serde::Serialize;

use super::score::{Figures, Report, Scored};

/// How figures are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// A table for people, shares to three digits.
    #[default]
    Table,
    /// One object: the figures by kind and in total.
    Json,
}

/// Writes the figures, and with `errors` a line for each thing that is wrong: behind the table, or as an array.
pub fn write(out: &mut impl Write, scored: &Scored, format: ReportFormat, errors: bool) -> io::Result<()> {
    match format {
        ReportFormat::Table => {
            write_table(out, &scored.report)?;
            if errors {
                writeln!(out)?;
                for error in &scored.errors {
                    writeln!(out, "{error}")?;
                }
            }
            Ok(())
        }
        ReportFormat::Json => {
            let errors = errors.then_some(scored.errors.as_slice());
            serde_json::to_writer_pretty(&mut *out, &Object { report: &scored.report, errors })?;
            writeln!(out)
        }
    }
}

#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [String]>,
}

/// The last two are the total's alone.
const COLUMNS: [&str; 7] = ["gold", "predicted", "precision", "recall", "junk", "violations", "exact"];

fn write_table(out: &mut impl Write, report: &Report) -> io::Result<()> {
    write_line(out, "kind", &COLUMNS.map(str::to_owned))?;
    let none = [String::new(), String::new()];
    for kind in Kind::ALL {
        write_line(out, kind.as_str(), &[cells(report.kinds.of(*kind)).as_slice(), &none].concat())?;
    }
    let total = &report.total;
    let rest = [total.violations.to_string(), share(total.exact)];
    write_line(out, "total", &[cells(&total.figures).as_slice(), &rest].concat())
}

fn cells(figures: &Figures) -> [String; 5] {
    let Figures { gold, predicted, precision, recall, junk } = *figures;
    [gold.to_string(), predicted.to_string(), share(precision), share(recall), share(junk)]
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "n/a".to_owned(), |share| format!("{share:.3}"))
}

fn write_line(out: &mut impl Write, kind: &str, cells: &[String]) -> io::Result<()> {
    write!(out, "{kind:<12}")?;
    for cell in cells {
        write!(out, "{cell:>11}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::super::score::{ByKind, Total};
    use super::*;

    fn scored() -> Scored {
        let half = Figures { gold: 4, predicted: 3, precision: Some(0.8333), recall: Some(0.5), junk: Some(0.0) };
        let kinds = ByKind { identity: half, ..ByKind::default() };
        let total = Total { figures: half, violations: 2, items: 3, exact: Some(0.6667) };
        Scored { report: Report { kinds, total }, errors: vec!["a t               violated 'b'".to_owned()] }
    }

    fn written(format: ReportFormat, errors: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, &scored(), format, errors).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_has_a_line_a_kind_and_the_errors_behind_it() {
        let lines = [
            "kind               gold  predicted  precision     recall       junk violations      exact",
            "identity              4          3      0.833      0.500      0.000                      ",
            "preference            0          0        n/a        n/a        n/a                      ",
            "project               0          0        n/a        n/a        n/a                      ",
            "constraint            0          0        n/a        n/a        n/a                      ",
            "total                 4          3      0.833      0.500      0.000          2      0.667",
        ];
        assert_eq!(written(ReportFormat::Table, false).lines().collect::<Vec<_>>(), lines);
        let with_errors = written(ReportFormat::Table, true);
        assert!(with_errors.ends_with("0.667\n\na t               violated 'b'\n"), "{with_errors}");
    }

    #[test]
    fn json_has_the_figures_in_order_null_for_a_share_of_nothing_and_errors_on_demand() {
        let text = written(ReportFormat::Json, false);
        assert!(text.starts_with("{\n  \"identity\": {\n    \"gold\": 4,\n    \"predicted\": 3,\n"), "{text}");
        let positions: Vec<_> = ["identity", "preference", "project", "constraint", "total", "violations", "exact"]
            .iter()
            .map(|word| text.find(word).unwrap())
            .collect();
        assert!(positions.is_sorted(), "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["project"]["precision"], serde_json::Value::Null);
        assert_eq!(object["total"]["exact"], 0.6667);
        assert_eq!(object.get("errors"), None);
        let object: serde_json::Value = serde_json::from_str(&written(ReportFormat::Json, true)).unwrap();
        assert_eq!(object["errors"][0], "a t               violated 'b'");
    }
}
