//! What is durable here, as pieces of an archive that fit an answer. Holds the rest of one piece, for a record may be
//! larger than an answer and must not be read twice: it could have changed.

use parking_lot::Mutex;
use proto::admin as wire;
use proto::admin::ExportQuestion;
use proto::admin::node_answer::Answer;
use proto::admin::{NodeAnswer, Piece};
use store::archive::{Head, export};

use super::answer::{refusal, whole};
use super::keeping::Keeping;

/// Bytes of an answer at most.
const MOST: usize = 1 << 20;
/// What a cursor begins with: one of the store, or one of a rest.
const OF_STORE: u8 = 0;
const OF_REST: u8 = 1;

/// The rest of a piece, if an export is in the middle of one.
#[derive(Debug, Default)]
pub struct Rest(Mutex<(u64, Vec<u8>, Option<Vec<u8>>)>);

impl Rest {
    /// Keeps what does not fit; answers the cursor of what follows.
    fn cut(&self, bytes: &mut Vec<u8>, next: Option<Vec<u8>>) -> Vec<u8> {
        if bytes.len() <= MOST {
            return next.map(|next| [&[OF_STORE][..], &next].concat()).unwrap_or_default();
        }
        let mut rest = self.0.lock();
        let number = rest.0 + 1;
        *rest = (number, bytes.split_off(MOST), next);
        [&[OF_REST][..], &number.to_be_bytes()].concat()
    }

    /// `None` where another export has put its own there.
    fn take(&self, number: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let mut rest = self.0.lock();
        (number == rest.0.to_be_bytes()).then(|| (std::mem::take(&mut rest.1), rest.2.take()))
    }
}

impl Keeping {
    pub(super) async fn export(&self, question: ExportQuestion) -> NodeAnswer {
        let Some(store) = &self.store else {
            return refusal("`persistence.backend = memory` keeps nothing that could be exported");
        };
        let number = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let head = Head { part: number(question.part), parts: number(question.parts), node: self.node.as_str().into() };
        let (mut bytes, next) = match question.cursor.split_first() {
            Some((&OF_REST, number)) => match self.rest.take(number) {
                Some(rest) => rest,
                None => return refusal("another export came in between"),
            },
            cursor => {
                if cursor.is_none() {
                    self.workers.hand_changes_over().await; // what clients were told is in it
                }
                let piece = export(store, &head, cursor.map(|(_, cursor)| cursor).unwrap_or_default()).await;
                match piece {
                    Ok(piece) => (piece.bytes, piece.next),
                    Err(error) => return refusal(&error.to_string()),
                }
            }
        };
        let next = self.rest.cut(&mut bytes, next);
        NodeAnswer { next, ..whole(Answer::Piece(Piece { bytes })) }
    }
}

/// For the answer to an import.
pub(super) const fn contents(of: store::archive::Contents) -> wire::Contents {
    wire::Contents { sessions: of.sessions, messages: of.messages, retained: of.retained, delayed: of.delayed }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_record_that_is_larger_than_an_answer_comes_in_several_and_is_whole() {
        let (rest, whole) = (Rest::default(), (0..=255).cycle().take(2 * MOST + 7).collect::<Vec<u8>>());
        let (mut bytes, mut got, mut next) = (whole.clone(), Vec::new(), Some(vec![9]));
        for answers in 1.. {
            let cursor = rest.cut(&mut bytes, next);
            assert!(bytes.len() <= MOST);
            got.extend_from_slice(&bytes);
            if cursor[0] == OF_STORE {
                assert_eq!((answers, &cursor[1..]), (3, &[9][..]));
                break;
            }
            (bytes, next) = rest.take(&cursor[1..]).unwrap();
        }
        assert!(got == whole, "{} of {} bytes", got.len(), whole.len());
    }

    #[test]
    fn an_export_that_another_has_overtaken_is_told() {
        let rest = Rest::default();
        let first = rest.cut(&mut vec![1; MOST + 1], None);
        let second = rest.cut(&mut vec![2; MOST + 1], None);
        assert!(rest.take(&first[1..]).is_none());
        assert_eq!(rest.take(&second[1..]).unwrap().0, [2]);
    }
}
