//! Everything that is refused is a problem that says what, where and the way out.

use reqwest::Method;
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn refusals_of_every_kind_are_problems() {
    let site = Site::new().await;
    let post = |body: &'static str, media_type: &'static str| {
        let request = site.request(Method::POST, "/v1/organisations");
        let request = request.bearer_auth(&site.operator).body(body);
        site.send(request.header("content-type", media_type))
    };
    post("{", "application/json").await.problem(400);
    post("name=x", "application/x-www-form-urlencoded")
        .await
        .problem(415);
    let problem = post(r#"{"name": "A"}"#, "application/json")
        .await
        .problem(422);
    assert_eq!(problem.field.as_deref(), Some("name"));
    let problem = post(r#"{"name": "a", "nam": 1}"#, "application/json")
        .await
        .problem(422);
    assert_eq!(problem.field.as_deref(), Some("nam"));

    let problem = site.get("/v1/leases?limit=0").await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("limit"));
    let problem = site.get("/v1/leases?limit=x").await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("limit"));
    let problem = site.get("/v1/leases?colour=red").await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("colour"));
    let problem = site.get("/v1/leases?after=x").await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("after"));

    site.get("/v1/nothing").await.problem(404);
    site.get("/").await.problem(404);
    site.get("/v1/leases/%ff").await.problem(404);
    let answer = site
        .call_as(&site.operator, Method::PUT, "/v1/leases", json!({}))
        .await;
    answer.problem(405);
    assert_eq!(answer.header("allow"), "GET, POST");

    let large = json!({ "name": "a".repeat(1_100_000) });
    site.post("/v1/organisations", large).await.problem(413);
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_is_not_kept() {
    let site = Site::new().await;
    for path in ["/v1/health", "/v1/nothing", "/v1/leases"] {
        let answer = site.send(site.request(Method::GET, path)).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}
