//! Figures in the text format of Prometheus, version 0.0.4. Never has a label: their number would not be bounded.

use std::fmt::Write;

use super::Figure;

/// One page of all figures.
pub(super) fn page(figures: &[Figure]) -> String {
    let mut page = String::with_capacity(figures.len() * 96);
    for Figure { name, value, is_counter } in figures {
        let (kind, end) = if *is_counter { ("counter", "_total") } else { ("gauge", "") };
        let shown: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        // `.count` is what a gauge of so many things is called here; Prometheus keeps that end for histograms.
        let shown = if *is_counter { &shown } else { shown.strip_suffix("_count").unwrap_or(&shown) };
        let _ = writeln!(page, "# TYPE brokerd_{shown}{end} {kind}\nbrokerd_{shown}{end} {value}"); // into a String
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_end_in_total_and_gauges_do_not() {
        let figures = [
            Figure { name: "packets.puback.sent", value: 7, is_counter: true },
            Figure { name: "live_connections.count", value: 3, is_counter: false },
        ];
        let expected = "\
# TYPE brokerd_packets_puback_sent_total counter
brokerd_packets_puback_sent_total 7
# TYPE brokerd_live_connections gauge
brokerd_live_connections 3
";
        assert_eq!(page(&figures), expected);
    }
}
