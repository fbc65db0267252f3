//go:build chromium

package localcloud_test

import (
	"flag"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"exportd/internal/browser"
	"exportd/internal/localcloud/localcloudtest"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of what Chromium shows")

// TestBrowserInChromium: each page with names and values as long and as strange as the services take them, in
// windows of three sizes. Nothing lies beside the window, nothing of the data runs, axe finds nothing, and a
// name breaks where its parts end.
func TestBrowserInChromium(t *testing.T) {
	axe, err := os.ReadFile("../console/testdata/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v: npm ci --prefix internal/console/testdata/axe", err)
	}
	c := localcloudtest.Start(t)
	pages := strangeData(t, c)
	p := browser.Open(t, "http://"+c.Endpoints().Firestore+"/browse/")
	for _, window := range []struct {
		name          string
		width, height int
		phone         bool
	}{{"desktop", 1280, 800, false}, {"narrow", 900, 800, false}, {"phone", 360, 800, true}} {
		p.Size(window.width, window.height, window.phone)
		for name, path := range pages {
			name += "-" + window.name
			p.Go("http://" + c.Endpoints().Firestore + path)
			if *screenshots != "" {
				p.Shoot(filepath.Join(*screenshots, "cloud-"+name+".png"), true)
			}
			if said := p.Said(); len(said) > 0 {
				t.Errorf("%s: the console says %q", name, said)
			}
			var page struct {
				Wide, Window float64
				Ran          any
				Split        []string
			}
			p.Eval(`({Wide: document.documentElement.scrollWidth, Window: document.documentElement.clientWidth, Ran: window.ran ?? null, Split: `+splitParts+`})`, &page)
			if page.Wide > page.Window {
				t.Errorf("%s is %v wide in a window of %v", name, page.Wide, page.Window)
			}
			if page.Ran != nil {
				t.Errorf("%s: a script of the data ran: %v", name, page.Ran)
			}
			if len(page.Split) > 0 {
				t.Errorf("%s: lines end within %.5q", name, page.Split)
			}
			if found := p.Axe(string(axe)); len(found) > 0 {
				t.Errorf("%s: axe finds %q", name, found)
			}
		}
	}
}

// splitParts are the parts of names and of what is said, of at most 12 letters, that lie on two lines.
const splitParts = `[...document.querySelectorAll("h1, .error, td, th, header a")].filter(e => !e.querySelector("pre")).flatMap(e => {
	const found = [], texts = document.createTreeWalker(e, NodeFilter.SHOW_TEXT)
	for (let n; n = texts.nextNode();) for (const m of n.data.matchAll(/[A-Za-z0-9]+/g)) {
		if (m[0].length > 12) continue
		const r = document.createRange()
		r.setStart(n, m.index); r.setEnd(n, m.index + m[0].length)
		if (new Set([...r.getClientRects()].map(b => Math.round(b.top))).size > 1) found.push(m[0])
	}
	return found
})`

// strangeData fills the services, and returns the pages that show what is in them.
func strangeData(t *testing.T, c *localcloudtest.Cloud) map[string]string {
	t.Helper()
	const project = "projects/a-project-with-a-long-name-00"
	fill(t, c, "a-project-with-a-long-name-00", "(default)")
	host := "http://" + c.Endpoints().Firestore
	const image = `<img src=x onerror="window.ran=1">`
	const script = `<script>window.ran=2</script>` + image
	longID, words := strings.Repeat("x", 1400), "the-quick-brown-fox_jumps.over-the-lazy-dog-"
	docs := "/" + project + "/databases/(default)/documents"
	for id, fields := range map[string]string{
		longID:                    `{"a":{"stringValue":"` + strings.Repeat("y", 3000) + `"}}`,
		strings.Repeat(words, 12): `{"a_field_with_quite_a_long_name_of_many_words":{"mapValue":{"fields":{"b":{"arrayValue":{"values":[{"nullValue":null},{"doubleValue":"NaN"},{"geoPointValue":{"latitude":1,"longitude":-2}}]}}}}}}`,
		url.PathEscape(image):     `{"` + strings.ReplaceAll(script, `"`, `\"`) + `":{"stringValue":"` + strings.ReplaceAll(script, `"`, `\"`) + `"}}`,
		url.PathEscape("\u202eمرحبا 👩‍👩‍👧 \u200b z\u0335\u0336\u0337"): `{"at":{"timestampValue":"0001-01-01T00:00:00Z"},"ref":{"referenceValue":"` + project + `/databases/(default)/documents/c/` + strings.Repeat("r", 300) + `"},"bytes":{"bytesValue":"AAEC"}}`,
	} {
		if code, v := call(t, "PATCH", host+"/v1"+docs+"/odd/"+id, `{"fields":`+fields+`}`); code != http.StatusOK {
			t.Fatalf("%s: %d %v", id, code, v)
		}
	}
	topic := project + "/topics/" + strings.Repeat(words, 5)
	if _, err := c.PubSub.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	for name, endpoint := range map[string]string{strings.Repeat("s", 255): "", "exports-of-the-night-" + words: "http://127.0.0.1:9/push/" + strings.Repeat("z", 600)} {
		s := &pubsubpb.Subscription{Name: project + "/subscriptions/" + name, Topic: topic}
		if endpoint != "" {
			s.PushConfig = &pubsubpb.PushConfig{PushEndpoint: endpoint}
		}
		if _, err := c.PubSub.SubscriptionAdminClient.CreateSubscription(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.PubSub.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("x")}}}); err != nil {
		t.Fatal(err)
	}
	const bucket = "b-a-project-with-a-long-name-00"
	for _, name := range []string{strings.Repeat("o", 1000), strings.Repeat("exports/2026-11-27/", 40) + "users.csv", script, "\u202eltr 👩‍👩‍👧 " + strings.Repeat("é", 200)} {
		w := c.Storage.Bucket(bucket).Object(name).NewWriter(t.Context())
		w.ContentType = "text/" + strings.Repeat("strange-", 20)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db := "/browse/" + project + "/databases/%28default%29/documents"
	return map[string]string{
		"databases": "/browse/", "database": db, "collection": db + "/odd", "document": db + "/odd/" + strings.Repeat(words, 12), "long-document": db + "/odd/" + longID,
		"script": db + "/odd/" + url.PathEscape(image), "missing-document": db + "/users/u",
		"query": db + "/odd?field=at&op=%3E%3D&value=%7B%22timestampValue%22%3A%220001-01-01T00%3A00%3A00Z%22%7D", "refused-query": db + "/odd?field=age&op=%3D%3D&value=7&order=at",
		"pubsub": "/browse/pubsub", "buckets": "/browse/storage", "objects": "/browse/storage/" + bucket, "no-bucket": "/browse/storage/nothing",
	}
}
