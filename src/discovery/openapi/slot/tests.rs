use http::HeaderValue;

use super::*;
use crate::discovery::openapi::fetch::Content;

fn good(tag: &str) -> Good {
    Good { etag: Some(HeaderValue::from_static("\"x\"")), tag: Arc::from(tag), content: Content::Absent }
}

const AGE: Duration = Duration::from_secs(30);

fn tag(slot: &Slot) -> Option<Arc<str>> {
    slot.good().map(|good| Arc::clone(&good.tag))
}

async fn fetched(slot: &Arc<Slot>, generation: u64, result: Result<Option<Good>, FetchError>) {
    landed(slot.start(generation, &Bounds::default(), |_| async { result }), None).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_asked_for_again_when_it_is_old_or_the_catalog_is_another() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    assert_eq!(slot.need(1, AGE, &bounds), Need::First);
    fetched(&slot, 1, Ok(Some(good("a")))).await;
    assert_eq!(slot.need(1, AGE, &bounds), Need::Nothing);
    assert_eq!(slot.need(2, AGE, &bounds), Need::Again);
    tokio::time::advance(AGE + Duration::from_secs(1)).await;
    assert_eq!(slot.need(1, AGE, &bounds), Need::Again);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_twice_for_a_server_that_became_slow() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    fetched(&slot, 1, Ok(Some(good("a")))).await;
    tokio::time::advance(AGE + Duration::from_secs(1)).await;
    let slow = bounds.revalidate + Duration::from_millis(1);
    let flight = slot.start(1, &bounds, |_| async move {
        tokio::time::sleep(slow).await;
        Ok(None)
    });
    assert_eq!(slot.need(1, AGE, &bounds), Need::Again);
    tokio::time::advance(slow).await;
    assert_eq!(slot.need(1, AGE, &bounds), Need::Background);
    landed(flight, None).await;
    tokio::time::advance(AGE + Duration::from_secs(1)).await;
    assert_eq!(slot.need(1, AGE, &bounds), Need::Background);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_not_asked_for_again_soon_whatever_the_catalog_says() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    fetched(&slot, 1, Err(FetchError::TooLarge(7))).await;
    tokio::time::advance(bounds.retry * 2).await;
    assert_eq!(slot.need(2, AGE, &bounds), Need::Nothing);
    tokio::time::advance(bounds.retry_too_large).await;
    assert_eq!(slot.need(2, AGE, &bounds), Need::Background);
}

#[tokio::test(start_paused = true)]
async fn only_what_came_later_makes_a_document_doubtful() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    let before = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    fetched(&slot, 1, Ok(Some(good("a")))).await;
    slot.doubt_before(Some(before));
    slot.doubt_before(None);
    assert_eq!(slot.need(1, AGE, &bounds), Need::Nothing);
    tokio::time::advance(Duration::from_secs(1)).await;
    slot.doubt_before(Some(Instant::now()));
    assert_eq!(slot.need(1, AGE, &bounds), Need::Again);
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_what_was_there_and_says_why() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    fetched(&slot, 1, Ok(Some(good("a")))).await;
    fetched(&slot, 1, Err(FetchError::Broken("cut".into()))).await;
    assert_eq!(tag(&slot).as_deref(), Some("a"));
    assert_eq!(slot.shown().error.as_deref(), Some("the answer broke off: cut"));
    assert_eq!(slot.need(1, AGE, &bounds), Need::Nothing, "not at once");
    tokio::time::advance(bounds.retry + Duration::from_secs(1)).await;
    assert_eq!(slot.need(1, AGE, &bounds), Need::Background);
    fetched(&slot, 1, Ok(None)).await;
    assert_eq!(slot.shown().error, None);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_fetch_at_a_time_and_it_goes_on_alone() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    let first = slot.start(1, &bounds, |_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Some(good("first")))
    });
    drop(first);
    let second = slot.start(1, &bounds, |_| async { Ok(Some(good("second"))) });
    landed(second, None).await;
    assert_eq!(tag(&slot).as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_twice_for_a_slow_server() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    let slow = bounds.grace * 2;
    let flight = slot.start(1, &bounds, |_| async move {
        tokio::time::sleep(slow).await;
        Err(FetchError::Timeout(slow))
    });
    assert_eq!(slot.need(1, AGE, &bounds), Need::First);
    landed(flight.clone(), Some(Instant::now() + bounds.grace + Duration::from_millis(1))).await;
    assert_eq!(slot.need(1, AGE, &bounds), Need::Background);
    landed(flight, None).await;
    assert_eq!(slot.need(2, AGE, &bounds), Need::Background, "not even under another catalog");
    fetched(&slot, 2, Ok(Some(good("a")))).await;
    assert_eq!(slot.need(3, AGE, &bounds), Need::Again);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_leaves_the_slot_free() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    let flight = slot.start(1, &bounds, |_| async { panic!("a mistake") });
    landed(flight, None).await;
    fetched(&slot, 1, Ok(Some(good("a")))).await;
    assert_eq!(tag(&slot).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_counts_only_a_while_after_a_fetch() {
    let (slot, bounds) = (Arc::<Slot>::default(), Bounds::default());
    slot.doubt();
    fetched(&slot, 1, Ok(Some(good("a")))).await;
    slot.doubt();
    assert_eq!(slot.need(1, AGE, &bounds), Need::Nothing);
    tokio::time::advance(limits::ROUTE_404_REFETCH_INTERVAL * 2).await;
    slot.doubt();
    assert_eq!(slot.need(1, AGE, &bounds), Need::Again);
}
