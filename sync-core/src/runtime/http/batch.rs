//! Answers a body that holds several operations.

use futures_util::future::join_all;
use serde_json::value::RawValue;

use crate::host_sync::sealed::Body;
use crate::host_sync::server::Status;
use crate::limits;
use crate::runtime::driver::shards::Front;
use crate::wire::batch::{Answer, Outer, write_answers};

/// Hands the operations over in their order and collects the answers in the same order.
///
/// # Errors
/// A bare status only when all operations would have got the same one.
pub(super) async fn exchange(front: &Front, operations: &[&RawValue]) -> Result<Body, Status> {
    let exchanges: Vec<_> = operations
        .iter()
        .map(|operation| {
            let request = operation.get().as_bytes();
            front.exchange(Outer::account(request), request.to_vec())
        })
        .collect();
    combine(join_all(exchanges).await)
}

/// One body out of the answers. A reply that no longer fits in it is put off: asked for again, it comes
/// first or alone, and fits.
fn combine(answers: Vec<Result<Body, Status>>) -> Result<Body, Status> {
    if let Some(Err(status)) = answers.first()
        && answers.iter().all(|answer| answer.as_ref().err() == Some(status))
    {
        return Err(*status);
    }
    let mut room = limits::BODY_BYTES_MAX - AROUND_BYTES_MAX - answers.len() * REFUSED_BYTES_MAX;
    let fit = |answer: Result<Body, Status>| -> Answer {
        let reply = answer.map_err(Status::code)?;
        if reply.len() > room {
            return Err(Status::Overloaded.code());
        }
        room -= reply.len();
        Ok(reply)
    };
    let answers: Vec<_> = answers.into_iter().map(fit).collect();
    Ok(write_answers(&answers))
}

/// `{"operations":[` and `]}`.
const AROUND_BYTES_MAX: usize = 32;
/// `{"status":429},`; as much is set aside for each operation.
const REFUSED_BYTES_MAX: usize = 16;

// The largest reply fits, whatever stands beside it.
const _: () = assert!(
    limits::FRAME_BYTES_MAX / 3 * 4
        + 64
        + AROUND_BYTES_MAX
        + limits::BATCH_OPERATIONS_MAX * REFUSED_BYTES_MAX
        <= limits::BODY_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::read_answers;

    #[test]
    fn a_refused_operation_does_not_take_the_others_along() {
        let body = combine(vec![Ok(b"{}".to_vec()), Err(Status::Refused), Ok(b"{}".to_vec())]).unwrap();
        assert_eq!(read_answers(&body), Ok(vec![Ok(b"{}".to_vec()), Err(400), Ok(b"{}".to_vec())]));
        let mixed = combine(vec![Err(Status::Refused), Err(Status::Overloaded)]).unwrap();
        assert_eq!(read_answers(&mixed), Ok(vec![Err(400), Err(429)]));
        assert_eq!(
            combine(vec![Err(Status::Unavailable), Err(Status::Unavailable)]),
            Err(Status::Unavailable)
        );
    }

    #[test]
    fn replies_that_do_not_fit_in_one_body_are_put_off() {
        let large = vec![b'0'; limits::BODY_BYTES_MAX / 2 - 1_000];
        let body =
            combine(vec![Ok(large.clone()), Ok(large.clone()), Ok(large), Ok(b"{}".to_vec())]).unwrap();
        assert!(body.len() <= limits::BODY_BYTES_MAX);
        let answers = read_answers(&body).unwrap_or_default();
        // `000...` is no JSON, so only the shape of the body is looked at here.
        assert!(answers.is_empty() && body.ends_with(br#",{"status":429},{}]}"#));
    }
}
