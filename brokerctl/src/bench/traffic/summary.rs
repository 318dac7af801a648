//! A run as a report. Never measures.

use mqtt::{Qos, Version};

use super::plan::{Pace, Plan, Until};
use super::run::Ran;
use crate::bench::report::Report;

/// Beyond this share of its threads' time the load is what is measured.
const BUSY: f64 = 0.9;

/// What is to be told of a run.
pub(crate) fn summary(plan: &Plan, ran: &Ran) -> Report {
    let report = settings(plan).with("threads", ran.threads);
    let report = rates(report, plan, ran);
    let report = faults(report, plan, ran);
    let mut report = report
        .with_percentiles("latency", &ran.outcome.latency)
        .with_percentiles("ack", &ran.outcome.ack)
        .with_figure("late_max_us", ran.outcome.late as f64 / 1000.0);
    report.plot.series(&ran.series);
    costs(report, plan, ran)
}

fn settings(plan: &Plan) -> Report {
    let report = Report::of(plan.scenario)
        .with("mqtt", if plan.version == Version::V5 { "5" } else { "3.1.1" })
        .with("qos", plan.qos as u8)
        .with("size", plan.size)
        .with("publishers", plan.publishers)
        .with("subscribers", plan.subscribers);
    match plan.pace {
        Pace::Rate(rate) => report.with("rate", rate),
        Pace::Window(window) => report.with("window", window),
    }
}

/// Nanoseconds that are measured.
fn elapsed(plan: &Plan, ran: &Ran) -> u64 {
    match plan.until {
        Until::Count(_) => ran.outcome.last.saturating_sub(ran.start),
        Until::Time { .. } => ran.to.time - ran.from.time,
    }
}

fn rates(report: Report, plan: &Plan, ran: &Ran) -> Report {
    let (sent, done) = (ran.to.sent - ran.from.sent, ran.to.done - ran.from.done);
    let elapsed = elapsed(plan, ran);
    let mut report = report.with_figure("seconds", elapsed as f64 / 1e9).with("sent", ran.outcome.sent);
    report = report.with_rate("sent_per_s", sent, elapsed);
    if plan.qos != Qos::AtMostOnce {
        report = report.with("acknowledged", ran.outcome.acknowledged);
    }
    if plan.copies() > 0 {
        return report.with("delivered", ran.outcome.delivered).with_rate("delivered_per_s", done, elapsed);
    }
    if plan.qos == Qos::AtMostOnce { report } else { report.with_rate("acknowledged_per_s", done, elapsed) }
}

/// What must be 0, and at which QoS.
fn faults(report: Report, plan: &Plan, ran: &Ran) -> Report {
    let outcome = &ran.outcome;
    let is_promised = plan.qos != Qos::AtMostOnce;
    report
        .with_fault("lost", outcome.lost, is_promised)
        .with_fault("duplicates", outcome.duplicates, plan.qos != Qos::AtLeastOnce)
        .with_fault("out_of_order", outcome.out_of_order, true)
        .with_fault("unanswered", outcome.unanswered, true)
        .with("refused", outcome.refused)
        .with("foreign", outcome.foreign)
        .with_fault("broken_connections", outcome.broken, true)
        .with("unsent", outcome.unsent)
}

fn costs(report: Report, plan: &Plan, ran: &Ran) -> Report {
    let looked = (ran.to.time - ran.from.time).max(1) as f64;
    let done = if plan.copies() > 0 || plan.qos != Qos::AtMostOnce {
        ran.to.done - ran.from.done
    } else {
        ran.to.sent - ran.from.sent
    };
    let mut report = report;
    if let (Some(before), Some(after)) = (ran.from.cpu, ran.to.cpu) {
        let cpu = after.saturating_sub(before) as f64;
        let name = if plan.copies() > 0 { "cpu_us_per_delivery" } else { "cpu_us_per_message" };
        report = report.with_figure(name, cpu / 1000.0 / done.max(1) as f64).with_figure("cpu_cores", cpu / looked);
    }
    if let Some(memory) = ran.to.memory {
        report = report.with("resident", memory.resident).with("anonymous", memory.anonymous);
    }
    let own = (ran.to.own_cpu - ran.from.own_cpu) as f64 / looked;
    let is_limit = own > BUSY * ran.threads as f64;
    report.with_figure("load_cpu_cores", own).with("load_may_be_the_limit", is_limit)
}
