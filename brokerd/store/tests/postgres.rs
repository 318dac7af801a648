//! PostgreSQL keeps the contract of all stores, and what was acknowledged outlives its end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sql;

use store::contract::run_side_by_side;
use store::contract::servers::{Kind, Server};

#[test]
fn postgres_keeps_the_contract() {
    let server = Server::start(Kind::Postgres);
    run_side_by_side(|| sql::place(&server));
}

#[test]
fn nothing_acknowledged_is_missing_after_postgres_was_killed_under_load() {
    sql::kill_under_load(&Server::start(Kind::Postgres));
}

#[test]
fn many_nodes_may_make_the_tables_of_postgres_at_once() {
    sql::start_at_once(&Server::start(Kind::Postgres));
}

#[test]
fn only_the_right_certificate_of_postgres_is_believed() {
    sql::only_the_right_certificate_is_believed(Kind::Postgres);
}
