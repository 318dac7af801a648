//! The tables are made at the first start, by one node at a time. Never touches tables of a version that it does not
//! know.

use super::Sql;
use super::server::{Fault, Server};
use super::statement::{Reply, Statement};

/// The version that is made and read.
const VERSION: u64 = 1;

impl<S: Server> Sql<S> {
    pub(super) async fn make_tables(&self) -> Result<(), Fault> {
        let mut lane = self.lanes.writer().await;
        let lock = lane.one(Statement::Text(S::LOCK, Vec::new())).await?;
        let is_refused = lock.rows.first().is_some_and(|row| row.maybe_int(0) == Some(0));
        if is_refused {
            return Err(Fault::Late("another node has been making its tables for too long".into()));
        }
        let statement = |text| Statement::Text(text, Vec::new());
        lane.one(statement("CREATE TABLE IF NOT EXISTS brokerd_version (version int NOT NULL PRIMARY KEY)")).await?;
        let known = lane.one(statement("SELECT version FROM brokerd_version")).await?;
        match version(&known) {
            None => {
                for table in S::TABLES {
                    lane.one(statement(table)).await?;
                }
                // The last step: a start that was cut short is done again.
                lane.one(statement("INSERT INTO brokerd_version (version) VALUES (1)")).await?;
            }
            Some(VERSION) => {}
            Some(other) => {
                return Err(Fault::Failed(format!("its tables are of version {other}, this brokerd knows {VERSION}")));
            }
        }
        lane.one(statement(S::UNLOCK)).await?;
        lane.done();
        Ok(())
    }
}

fn version(reply: &Reply) -> Option<u64> {
    reply.rows.iter().filter_map(|row| row.maybe_int(0)).max()
}
