use super::*;
use crate::error::Class;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Result<Answer, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    read(
        StatusCode::from_u16(status).unwrap(),
        &map,
        body.as_bytes(),
        Timestamp::UNIX_EPOCH,
    )
}

fn code(status: u16, headers: &[(&'static str, &str)], body: &str) -> &'static str {
    answer(status, headers, body).unwrap_err().code()
}

#[test]
fn partial_data_is_kept_with_its_typed_errors() {
    let answer = answer(
        200,
        &[],
        r#"{"data":{"nodes":[{"id":"a"},null],"rateLimit":{"cost":1,"limit":5000,"remaining":4999,"resetAt":"2024-10-15T19:00:00Z"}},
            "errors":[{"type":"NOT_FOUND","path":["nodes",1],"message":"Could not resolve"}]}"#,
    )
    .unwrap();
    assert_eq!(answer.errors[0].field(), Some("nodes"));
    assert_eq!(answer.errors[0].error_type.as_deref(), Some("NOT_FOUND"));
    assert_eq!(answer.rate_limit.unwrap().remaining, 4999);
}

#[test]
fn what_is_no_answer_is_an_error() {
    assert_eq!(code(200, &[], ""), "github-empty");
    assert_eq!(code(200, &[], " \n"), "github-empty");
    assert_eq!(code(200, &[], "<html>Unicorn</html>"), "github-not-json");
    assert_eq!(code(502, &[], "<html>Bad gateway</html>"), "github-server");
    assert_eq!(code(502, &[], ""), "github-server");
    assert_eq!(code(200, &[], r#"{"data":{"a":"#), "github-not-json");
    assert_eq!(code(200, &[], "{}"), "github-no-data");
    assert_eq!(code(200, &[], r#"{"data":null}"#), "github-no-data");
    assert_eq!(
        code(200, &[], r#"{"message":"Problems"}"#),
        "github-no-data"
    );
    assert_eq!(
        code(
            200,
            &[],
            r#"{"data":null,"errors":[{"message":"Something went wrong while executing your query."}]}"#
        ),
        "github-errors"
    );
    assert_eq!(
        code(
            200,
            &[],
            r#"{"message":"We couldn't respond to your request in time. Sorry about that. timeout"}"#
        ),
        "github-too-heavy"
    );
    assert_eq!(
        code(401, &[], r#"{"message":"Bad credentials"}"#),
        "github-unauthorized"
    );
    assert_eq!(
        code(
            200,
            &[],
            r#"{"errors":[{"message":"Field 'x' doesn't exist","extensions":{"code":"undefinedField"}}]}"#
        ),
        "github-query"
    );
}

#[test]
fn limits_say_how_long_to_wait() {
    let exhausted = [
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1729018830"),
        ("date", "Tue, 15 Oct 2024 19:00:00 GMT"),
    ];
    let body = r#"{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}"#;
    assert_eq!(
        answer(200, &exhausted, body).unwrap_err().class(),
        Class::Wait(Duration::from_secs(31))
    );
    assert_eq!(
        code(403, &exhausted, r#"{"message":"API rate limit exceeded"}"#),
        "github-rate-limited"
    );
    let secondary = r#"{"message":"You have exceeded a secondary rate limit."}"#;
    for (status, body) in [
        (403, secondary),
        (429, "slow down"),
        (
            200,
            r#"{"errors":[{"message":"You have exceeded a secondary rate limit."}]}"#,
        ),
    ] {
        assert_eq!(
            answer(status, &[("retry-after", "7")], body)
                .unwrap_err()
                .class(),
            Class::Wait(Duration::from_secs(7))
        );
        assert_eq!(
            answer(status, &[], body).unwrap_err().class(),
            Class::Wait(SECONDARY_PAUSE)
        );
    }
    assert_eq!(
        code(
            403,
            &[],
            r#"{"message":"Resource protected by organization SAML enforcement."}"#
        ),
        "github-forbidden"
    );
}
