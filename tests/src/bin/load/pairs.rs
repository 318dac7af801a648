//! Point to point: each publisher has a subscriber of its own. In the open loop messages are sent at times that were
//! fixed before, and latency counts from then; in the closed loop the next is sent when one has arrived.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::PairsArgs;
use crate::client::Client;
use crate::process;
use crate::report::Report;

/// Not measured: connections settle, the allocator warms up.
const WARM_UP: Duration = Duration::from_secs(1);
/// After the last message is sent, for what is still on its way.
const STRAGGLERS: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Pair {
    publisher: Client,
    subscriber: Client,
    /// A PUBLISH with room for its time.
    template: Vec<u8>,
    stamp_at: usize,
    id_at: Option<usize>,
    sent: u64,
    acknowledged: u64,
    received: u64,
}

impl Pair {
    fn connect(args: &PairsArgs, number: usize) -> Self {
        let topic = format!("load/{}/{number}", std::process::id());
        let id = |role: &str| format!("load-{}-{role}-{number}", std::process::id());
        let mut subscriber = Client::connect(args.broker.target, None, &id("sub"));
        subscriber.subscribe(&topic, args.qos);
        let mut publisher = Client::connect(args.broker.target, None, &id("pub"));
        subscriber.stop_blocking();
        publisher.stop_blocking();
        let payload = vec![b'.'; args.size.max(8)];
        let version = tests::packet::Version::V311;
        let template = tests::packet::PublishOut::new(&topic, &payload, args.qos, 1).encode(version);
        let stamp_at = template.len() - payload.len();
        let id_at = (args.qos > 0).then(|| stamp_at - 2);
        Self { publisher, subscriber, template, stamp_at, id_at, sent: 0, acknowledged: 0, received: 0 }
    }

    /// Queues one message that carries this time.
    fn publish(&mut self, stamp: u64) {
        self.sent += 1;
        self.template[self.stamp_at..self.stamp_at + 8].copy_from_slice(&stamp.to_be_bytes());
        if let Some(at) = self.id_at {
            let id = (self.sent % 65_535) as u16 + 1;
            self.template[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        self.publisher.out().extend_from_slice(&self.template);
    }

    /// Reads acknowledgements.
    fn read_publisher(&mut self, scratch: &mut [u8]) {
        let acknowledged = &mut self.acknowledged;
        self.publisher.read(scratch, |packet, _| *acknowledged += u64::from(packet.first == 0x40));
    }

    /// Reads messages, acknowledges them, and hands over the time that each carries.
    fn read_subscriber(&mut self, scratch: &mut [u8], mut each: impl FnMut(u64)) {
        let received = &mut self.received;
        self.subscriber.read(scratch, |packet, out| {
            if packet.first >> 4 != 3 {
                return;
            }
            let (id, payload_at) = packet.publish();
            if id != 0 {
                out.extend([0x40, 2]);
                out.extend(id.to_be_bytes());
            }
            *received += 1;
            each(u64::from_be_bytes(packet.body[payload_at..payload_at + 8].try_into().expect("eight bytes")));
        });
        self.subscriber.flush();
    }

    /// Messages on their way: not received, or not acknowledged to the publisher.
    fn open(&self) -> u64 {
        let acknowledged = if self.id_at.is_some() { self.acknowledged } else { self.sent };
        self.sent - self.received.min(acknowledged)
    }
}

/// All pairs and the poll that watches them.
struct Pairs {
    pairs: Vec<Pair>,
    epoll: rustix::fd::OwnedFd,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
    start: Instant,
}

impl Pairs {
    fn connect(args: &PairsArgs) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let pairs: Vec<_> = (0..args.pairs).map(|number| Pair::connect(args, number)).collect();
        for (number, pair) in pairs.iter().enumerate() {
            for (role, client) in [(0, &pair.publisher), (1, &pair.subscriber)] {
                let data = epoll::EventData::new_u64(number as u64 * 2 + role);
                epoll::add(&epoll, client.stream(), data, epoll::EventFlags::IN).expect("a socket to watch");
            }
        }
        let events = Vec::with_capacity(256);
        Self { pairs, epoll, events, scratch: vec![0; 256 * 1024], start: Instant::now() }
    }

    fn elapsed(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Waits for sockets, for at most that long, and reads them. `each` is given the number of a pair and a time.
    fn turn(&mut self, timeout: Duration, mut each: impl FnMut(usize, u64)) {
        let timeout = Timespec::try_from(timeout).expect("a short time");
        let events = rustix::buffer::spare_capacity(&mut self.events);
        if epoll::wait(&self.epoll, events, Some(&timeout)).is_err() {
            return; // a signal
        }
        for event in self.events.drain(..) {
            let token = event.data.u64() as usize;
            let pair = &mut self.pairs[token / 2];
            if token.is_multiple_of(2) {
                pair.read_publisher(&mut self.scratch);
            } else {
                pair.read_subscriber(&mut self.scratch, |stamp| each(token / 2, stamp));
            }
        }
    }

    fn total(&self, of: impl Fn(&Pair) -> u64) -> u64 {
        self.pairs.iter().map(of).sum()
    }
}

/// Sends at a fixed rate.
pub(crate) fn open_loop(args: &PairsArgs, rate: u64) -> Report {
    let mut pairs = Pairs::connect(args);
    let interval = 1_000_000_000 / rate;
    let measured_from = WARM_UP.as_nanos() as u64;
    let end = measured_from + args.seconds * 1_000_000_000;
    let mut latencies = Vec::with_capacity((rate * args.seconds) as usize);
    let (mut next, mut number, mut late) = (0_u64, 0_usize, 0_u64);
    let mut before = None;
    while next < end {
        let now = pairs.elapsed();
        if now >= measured_from && before.is_none() {
            before = Some((now, process::cpu_nanoseconds(args.broker.pid), pairs.total(|pair| pair.received)));
        }
        while next <= now && next < end {
            let index = number % args.pairs;
            pairs.pairs[index].publish(next);
            pairs.pairs[index].publisher.flush();
            late = late.max(now - next);
            next += interval;
            number += 1;
        }
        let pause = Duration::from_nanos(next.saturating_sub(pairs.elapsed()));
        let start = pairs.start;
        pairs.turn(pause, |_, stamp| record(&mut latencies, start, stamp, measured_from));
    }
    let (from, cpu_before, received_before) = before.expect("a measurement longer than its warm-up");
    let (cpu, to) = (process::cpu_nanoseconds(args.broker.pid) - cpu_before, pairs.elapsed());
    let delivered = pairs.total(|pair| pair.received) - received_before;
    let deadline = Instant::now() + STRAGGLERS;
    while pairs.total(Pair::open) > 0 && Instant::now() < deadline {
        let start = pairs.start;
        pairs.turn(Duration::from_millis(10), |_, stamp| record(&mut latencies, start, stamp, measured_from));
        pairs.pairs.iter_mut().for_each(|pair| pair.publisher.flush());
    }
    let lost = pairs.total(|pair| pair.sent) - pairs.total(|pair| pair.received);
    summary("p2p", args, delivered, to - from, cpu)
        .with("rate", rate)
        .with("lost", lost)
        .with_figure("sender_late_max_us", late as f64 / 1000.0)
        .with_percentiles("latency", &mut latencies)
}

fn record(latencies: &mut Vec<u64>, start: Instant, stamp: u64, from: u64) {
    if stamp >= from {
        latencies.push((start.elapsed().as_nanos() as u64).saturating_sub(stamp));
    }
}

/// Keeps a window of messages on their way.
pub(crate) fn closed_loop(args: &PairsArgs, window: u64) -> Report {
    let mut pairs = Pairs::connect(args);
    let end = WARM_UP + Duration::from_secs(args.seconds);
    let mut before = None;
    while pairs.start.elapsed() < end {
        if pairs.start.elapsed() >= WARM_UP && before.is_none() {
            let received = pairs.total(|pair| pair.received);
            before = Some((pairs.elapsed(), process::cpu_nanoseconds(args.broker.pid), received));
        }
        for pair in &mut pairs.pairs {
            for _ in pair.open()..window {
                pair.publish(0);
            }
            pair.publisher.flush();
        }
        pairs.turn(Duration::from_millis(100), |_, _| {});
    }
    let (from, cpu_before, received_before) = before.expect("a measurement longer than its warm-up");
    let (cpu, to) = (process::cpu_nanoseconds(args.broker.pid) - cpu_before, pairs.elapsed());
    let delivered = pairs.total(|pair| pair.received) - received_before;
    summary("p2p-closed", args, delivered, to - from, cpu).with("window", window)
}

fn summary(scenario: &str, args: &PairsArgs, delivered: u64, nanoseconds: u64, cpu: u64) -> Report {
    Report::of(scenario)
        .with("pairs", args.pairs)
        .with("qos", args.qos)
        .with("size", args.size)
        .with("delivered", delivered)
        .with_figure("delivered_per_s", delivered as f64 * 1e9 / nanoseconds as f64)
        .with_figure("cpu_us_per_delivery", cpu as f64 / 1000.0 / delivered.max(1) as f64)
        .with_figure("cpu_cores", cpu as f64 / nanoseconds as f64)
}
