//! One table a case: who, figures, and the ratio to a peer.

use std::io::Write;

/// One line of it.
pub(crate) struct Row {
    pub(crate) who: &'static str,
    /// The figure that counts.
    pub(crate) figure: f64,
    /// What else was measured, in the order of the columns.
    pub(crate) others: Vec<String>,
}

/// What the figure is.
pub(crate) struct Figure {
    /// With its unit, such as `CPU µs/request`.
    pub(crate) name: &'static str,
    /// Digits behind the point.
    pub(crate) digits: usize,
}

/// Prints it; the ratio is each figure through that of `beside`, when it is there.
pub(crate) fn show(case: &str, figure: &Figure, columns: &[&str], rows: &[Row], beside: &str) {
    say(&render(case, figure, columns, rows, beside));
}

/// To stdout: figures are what this program is asked for. A reader that has gone away is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn render(case: &str, figure: &Figure, columns: &[&str], rows: &[Row], beside: &str) -> String {
    let base = rows.iter().find(|row| row.who == beside).map(|row| row.figure).filter(|base| *base > 0.0);
    let heading = base.map_or(String::new(), |_| format!("× {beside}"));
    let mut text = format!("\n{case}\n  {:<20} {:>16} {heading:>12}", "", figure.name);
    for column in columns {
        text += &format!(" {column:>12}");
    }
    for row in rows {
        let ratio = base.map_or(String::new(), |base| format!("{:.2}", row.figure / base));
        text += &format!("\n  {:<20} {:>16.*} {ratio:>12}", row.who, figure.digits, row.figure);
        for other in &row.others {
            text += &format!(" {other:>12}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_stands_beside_its_ratio_to_the_peer() {
        let row = |who, figure| Row { who, figure, others: vec!["7".to_owned()] };
        let figure = Figure { name: "CPU", digits: 1 };
        let text = render("case", &figure, &["rest"], &[row("ours", 10.0), row("peer", 20.0)], "peer");
        let lines: Vec<Vec<&str>> =
            text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["CPU", "×", "peer", "rest"]);
        assert_eq!(lines[1], ["ours", "10.0", "0.50", "7"]);
        assert_eq!(lines[2], ["peer", "20.0", "1.00", "7"]);
    }

    #[test]
    fn without_the_peer_there_is_no_ratio() {
        let figure = Figure { name: "CPU", digits: 1 };
        let row = Row { who: "ours", figure: 10.0, others: Vec::new() };
        assert!(!render("case", &figure, &[], &[row], "peer").contains('×'));
    }
}
