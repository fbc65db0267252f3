package localcloud_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/access"
)

// call sends a request and returns the status and the answer as JSON, with its numbers and names where they
// lie.
func call(t *testing.T, method, url, body string, header ...string) (int, any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		v = string(raw)
	}
	return res.StatusCode, v
}

// at finds what lies at a path of names and numbers.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestRESTOfFirestore(t *testing.T) {
	t.Parallel()
	c := start(t, localcloud.Config{})
	host := "http://" + c.Endpoints().Firestore
	docs := host + "/v1/projects/p/databases/(default)/documents"
	if code, v := call(t, "POST", docs+"/users?documentId=a", `{"fields":{"n":{"integerValue":"7"},"s":{"stringValue":"x"}}}`); code != 200 || at(v, "fields", "n", "integerValue") != "7" {
		t.Fatalf("create: %d %v", code, v)
	}
	if code, v := call(t, "PATCH", docs+"/users/b/orders/1?currentDocument.exists=false", `{"fields":{"n":{"integerValue":8}}}`); code != 200 {
		t.Fatalf("update: %d %v", code, v)
	}
	if code, v := call(t, "PATCH", docs+"/users/a?updateMask.fieldPaths=s&updateMask.fieldPaths=t", `{"fields":{"t":{"booleanValue":true}}}`); code != 200 || at(v, "fields", "s") != nil || at(v, "fields", "t", "booleanValue") != true {
		t.Errorf("update with a mask: %d %v", code, v)
	}
	if code, v := call(t, "GET", docs+"/users/a?mask.fieldPaths=n", ""); code != 200 || at(v, "fields", "n", "integerValue") != "7" || at(v, "fields", "t") != nil {
		t.Errorf("get: %d %v", code, v)
	}
	if code, v := call(t, "GET", docs+"/users?pageSize=1&showMissing=true", ""); code != 200 || at(v, "documents", 0, "name") != "projects/p/databases/(default)/documents/users/a" || at(v, "nextPageToken") == nil {
		t.Errorf("list: %d %v", code, v)
	}
	if code, v := call(t, "GET", docs+"/users/b/orders", ""); code != 200 || at(v, "documents", 0, "fields", "n", "integerValue") != "8" {
		t.Errorf("list of a subcollection: %d %v", code, v)
	}
	query := `{"structuredQuery":{"from":[{"collectionId":"users"}],"where":{"fieldFilter":{"field":{"fieldPath":"n"},"op":"GREATER_THAN","value":{"integerValue":"1"}}}}}`
	if code, v := call(t, "POST", docs+":runQuery", query); code != 200 || at(v, 0, "document", "fields", "n", "integerValue") != "7" {
		t.Errorf("query: %d %v", code, v)
	}
	if code, v := call(t, "POST", docs+"/users/b:runQuery", `{"structuredQuery":{"from":[{"collectionId":"orders"}]}}`); code != 200 || at(v, 0, "document", "fields", "n", "integerValue") != "8" {
		t.Errorf("query below a document: %d %v", code, v)
	}
	if code, v := call(t, "POST", docs+":commit", `{"writes":[{"delete":"projects/p/databases/(default)/documents/users/nothing","currentDocument":{"exists":true}}]}`); code != 404 || at(v, "error", "status") != "NOT_FOUND" {
		t.Errorf("commit: %d %v", code, v)
	}
	for _, c := range []struct{ method, url, body string }{
		{"POST", docs + ":runQuery", `{"structuredQuery":{"from":7}}`}, {"POST", docs + ":runQuery", `{"unheardOf":1}`}, {"GET", docs + "/users/a?unheardOf=1", ""},
		{"GET", docs + "/users?pageSize=x", ""}, {"POST", docs + ":commit", `{`},
	} {
		if code, v := call(t, c.method, c.url, c.body); code != 400 || at(v, "error", "status") != "INVALID_ARGUMENT" {
			t.Errorf("%s %s: %d %v", c.method, c.url, code, v)
		}
	}
	if code, v := call(t, "GET", host+"/v1/nothing", ""); code != 404 {
		t.Errorf("no method: %d %v", code, v)
	}
	// What test tools send between tests.
	if code, v := call(t, "DELETE", host+"/emulator/v1/projects/p/databases/(default)/documents", ""); code != 200 {
		t.Fatalf("delete all: %d %v", code, v)
	}
	if code, v := call(t, "POST", docs+":listCollectionIds", `{}`); code != 200 || at(v, "collectionIds") != nil {
		t.Errorf("after it: %d %v", code, v)
	}
	if code, v := call(t, "GET", host+"/", ""); code != 200 || !strings.Contains(fmt.Sprint(v), "FIRESTORE_EMULATOR_HOST="+c.Endpoints().Firestore) {
		t.Errorf("page: %d %v", code, v)
	}
}

func TestRESTOfPubSub(t *testing.T) {
	t.Parallel()
	c := start(t, localcloud.Config{})
	v1 := "http://" + c.Endpoints().PubSub + "/v1/projects/p"
	for _, step := range []struct {
		method, url, body string
		path              []any
		want              any
	}{
		{"PUT", v1 + "/topics/jobs", `{"labels":{"a":"b"}}`, []any{"labels", "a"}, "b"},
		{"PUT", v1 + "/subscriptions/jobs", `{"topic":"projects/p/topics/jobs","ackDeadlineSeconds":20}`, []any{"ackDeadlineSeconds"}, 20.0},
		{"GET", v1 + "/topics", "", []any{"topics", 0, "name"}, "projects/p/topics/jobs"},
		{"GET", v1 + "/topics/jobs/subscriptions", "", []any{"subscriptions", 0}, "projects/p/subscriptions/jobs"},
		{"POST", v1 + "/topics/jobs:publish", `{"messages":[{"data":"aGk="}]}`, nil, nil},
		{"POST", v1 + "/subscriptions/jobs:pull", `{"maxMessages":1}`, []any{"receivedMessages", 0, "message", "data"}, "aGk="},
		{"PATCH", v1 + "/topics/jobs", `{"topic":{"labels":{"a":"c"}},"updateMask":"labels"}`, []any{"labels", "a"}, "c"},
		{"DELETE", v1 + "/topics/jobs", "", nil, nil},
	} {
		code, v := call(t, step.method, step.url, step.body)
		if code != 200 || step.path != nil && at(v, step.path...) != step.want {
			t.Errorf("%s %s: %d %v", step.method, step.url, code, v)
		}
	}
	if code, v := call(t, "PUT", v1+"/topics/other", `{"kmsKeyName":"x"}`); code != 501 || at(v, "error", "status") != "UNIMPLEMENTED" {
		t.Errorf("a field that is not served: %d %v", code, v)
	}
}

// TestPagesAreRefused: neither another site's page nor a name that was pointed at loopback gets in.
func TestPagesAreRefused(t *testing.T) {
	t.Parallel()
	c := start(t, localcloud.Config{})
	for _, host := range []string{c.Endpoints().Firestore, c.Endpoints().PubSub} {
		for _, header := range [][]string{{"Origin", "https://example.com"}, {"Origin", "http://localhost:3000"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Host", "evil.example:80"}} {
			for _, path := range []string{"/", "/v1/projects/p/topics", "/emulator/v1/projects/p/databases/(default)/documents"} {
				for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
					if code, v := call(t, method, "http://"+host+path, "", header...); code != http.StatusForbidden {
						t.Errorf("%s %s with %v: %d %v", method, path, header, code, v)
					}
				}
			}
		}
	}
}

// TestAccountsOverREST: what an account may not do over gRPC it may not do over REST.
func TestAccountsOverREST(t *testing.T) {
	t.Parallel()
	roles, err := access.Parse([]byte("accounts: {reader: [datastore.entities.get]}"))
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, localcloud.Config{Roles: roles, Log: zap.NewNop()})
	doc := "/v1/projects/p/databases/(default)/documents/users/a"
	reader := "http://" + c.Endpoints().Accounts["reader"].Firestore
	if code, v := call(t, "PATCH", "http://"+c.Endpoints().Firestore+doc, `{"fields":{}}`); code != 200 {
		t.Fatalf("owner: %d %v", code, v)
	}
	if code, v := call(t, "GET", reader+doc, ""); code != 200 {
		t.Errorf("reader: %d %v", code, v)
	}
	for method, path := range map[string]string{"PATCH": doc, "DELETE": "/emulator/v1/projects/p/databases/(default)/documents"} {
		if code, v := call(t, method, reader+path, `{}`); code != http.StatusForbidden {
			t.Errorf("reader, %s: %d %v", method, code, v)
		}
	}
}

// TestSilentConnections do not keep the cloud from closing.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	c := start(t, localcloud.Config{})
	for _, said := range []string{"", "P", "PR"} {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", c.Endpoints().Firestore)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
