package localcloud_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/zap"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/access"
	"exportd/internal/localcloud/localcloudtest"
)

// looks are of the page's markup what says how it is laid out.
var looks = regexp.MustCompile(` (data-head|class="whole)[^>]*|<wbr>`)

// browsed is a page's text, with its markup but without looks.
func browsed(t *testing.T, url string, header ...string) string {
	t.Helper()
	code, v := call(t, "GET", url, "", header...)
	if code != http.StatusOK {
		t.Errorf("GET %s: %d %v", url, code, v)
	}
	return looks.ReplaceAllString(fmt.Sprint(v), "")
}

func TestBrowser(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	fill(t, c, "project-one", "(default)")
	host := "http://" + c.Endpoints().Firestore
	docs := "/v1/projects/project-one/databases/(default)/documents"
	for path, body := range map[string]string{
		"/odd/" + url.PathEscape("a<b>&c d"): `{"fields":{"<script>alert(1)</script>":{"stringValue":"<img src=x>"},"age":{"integerValue":"7"}}}`,
		"/odd/documents":                     `{"fields":{"age":{"integerValue":"30"},"at":{"timestampValue":"2026-01-02T03:04:05Z"}}}`,
	} {
		if code, v := call(t, "PATCH", host+docs+path, body); code != 200 {
			t.Fatalf("%s: %d %v", path, code, v)
		}
	}
	if _, err := c.PubSub.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: "projects/project-one/topics/topic", Messages: []*pubsubpb.PubsubMessage{{Data: []byte("secret")}, {Data: []byte("secret")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PubSub.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/project-one/subscriptions/pushed", Topic: "projects/project-one/topics/topic", PushConfig: &pubsubpb.PushConfig{PushEndpoint: "http://127.0.0.1:9/<b>"},
	}); err != nil {
		t.Fatal(err)
	}
	db := "/browse/projects/project-one/databases/%28default%29/documents"
	for _, step := range []struct {
		path        string
		has, hasNot []string
	}{
		{"/", []string{`href="/browse/"`}, nil},
		{"/browse/", []string{`href="/browse/projects/project-one/databases/%28default%29/documents"`}, nil},
		{db, []string{"/documents/odd", "/documents/users"}, nil},
		{db + "/users", []string{"/users/u", "(missing; there are documents below it)"}, nil},
		{db + "/users/u", []string{"/users/u/pets", "<p class=\"error\">Document &#34;projects/project-one/databases/(default)/documents/users/u&#34; not found.</p>"}, nil},
		{db + "/users/u/pets/p", []string{"<td>n</td>", "<pre>1</pre>", "There are no collections here."}, nil},
		{db + "/odd", []string{"a&lt;b&gt;&amp;c d", "&lt;script&gt;alert(1)", "2026-01-02 03:04:05.000 UTC"}, []string{"<script", "<img"}},
		{db + "/odd/" + url.PathEscape("a<b>&c d"), []string{"&lt;img src=x&gt;"}, []string{"<script", "<img"}},
		{db + "/odd/documents", []string{"<pre>30</pre>"}, nil},
		{db + "/odd?field=age&op=%3E&value=8", []string{"/odd/documents"}, []string{"a&lt;b"}},
		{db + "/odd?order=age&direction=descending", []string{"/odd/documents", "a&lt;b", `value="age"`}, nil},
		{db + "/odd?field=age&op=%3D%3D&value=7&order=at", []string{"class=\"error\"", "requires an index"}, []string{"There are no such documents"}},
		{db + "/odd?field=age&op=%3D%3D&value=seven", []string{"text needs quotes"}, nil},
		{db + "/odd?field=age&op=like&value=7", []string{"there is no operator"}, nil},
		{"/browse/pubsub", []string{"projects/project-one/topics/topic", "<td>projects/project-one/subscriptions/sub</td><td>projects/project-one/topics/topic</td><td>2</td><td>0</td>", "<td>http://127.0.0.1:9/&lt;b&gt;</td>"}, []string{"secret", "<b>"}},
		{"/browse/storage", []string{`href="/browse/storage/b-project-one"`, " UTC</td>"}, []string{"Z</td>"}},
		{"/browse/storage/b-project-one", []string{"<td>700000</td>", "<td>10</td>", " UTC</td>"}, []string{"Z</td>"}},
		{"/browse/storage/nothing", []string{"404"}, nil},
	} {
		page := browsed(t, host+step.path)
		for _, want := range step.has {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q:\n%s", step.path, want, page)
			}
		}
		for _, bad := range step.hasNot {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %q", step.path, bad)
			}
		}
	}
	// It only reads, and shows nothing to pages of others.
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		if code, v := call(t, method, host+"/browse/", ""); code < 400 {
			t.Errorf("%s: %d %v", method, code, v)
		}
	}
	for _, header := range [][]string{{"Host", "evil.example"}, {"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		for _, path := range []string{"/browse/", db + "/odd", "/browse/pubsub", "/browse/storage"} {
			if code, v := call(t, "GET", host+path, "", header...); code != http.StatusForbidden || strings.Contains(fmt.Sprint(v), "project-one") {
				t.Errorf("%s with %v: %d %v", path, header, code, v)
			}
		}
	}
}

// TestBrowserOfAccount: the pages at an account's address show what the account may see.
func TestBrowserOfAccount(t *testing.T) {
	t.Parallel()
	roles, err := access.Parse([]byte("accounts: {lister: [pubsub.topics.list], subscribers: [pubsub.subscriptions.list, datastore.databases.getMetadata], none: []}"))
	if err != nil {
		t.Fatal(err)
	}
	c := localcloudtest.Start(t, func(cfg *localcloud.Config) { cfg.Roles, cfg.Log = roles, zap.NewNop() })
	fill(t, c, "project-one", "(default)")
	for account, sees := range map[string]struct{ topics, subs, databases bool }{"lister": {topics: true}, "subscribers": {subs: true, databases: true}, "none": {}} {
		host := "http://" + c.Endpoints().Accounts[account].Firestore
		page := browsed(t, host+"/browse/pubsub")
		if strings.Contains(page, "<td>projects/project-one/topics/topic</td></tr>") != sees.topics || strings.Contains(page, "subscriptions/sub") != sees.subs || !strings.Contains(page, `class="error"`) {
			t.Errorf("%s: %s", account, page)
		}
		if page := browsed(t, host+"/browse/"); strings.Contains(page, "project-one") != sees.databases || strings.Contains(page, `class="error"`) == sees.databases {
			t.Errorf("%s, databases: %s", account, page)
		}
		for _, path := range []string{"/browse/storage", "/browse/storage/b-project-one", "/browse/projects/project-one/databases/(default)/documents", "/browse/projects/project-one/databases/(default)/documents/users/u/pets"} {
			if page := browsed(t, host+path); !strings.Contains(page, `class="error"`) || strings.Contains(page, "<tr>") {
				t.Errorf("%s, %s: %s", account, path, page)
			}
		}
	}
}
