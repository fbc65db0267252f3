package api

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/heaptest"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// TestTablesOfStrangers puts many entries into tables of this package that grow with what is sent here: what
// stays in memory has a bound. It runs alone, as it measures the heap.
//
// There is no table of nonces, of duplicates of what operators do, or of idempotency keys: these are
// documents, which are read each time. Cursors of messages hold all that they mean.
func TestTablesOfStrangers(t *testing.T) {
	const most = 20 << 20
	entries := heaptest.Entries()
	rate := Rate{PerSecond: 1, Burst: 1}
	for name, fill := range map[string]func() any{
		"buckets by address or key": func() any {
			b, err := newBuckets(rate)
			if err != nil {
				t.Fatal(err)
			}
			for i := range entries {
				b.take(fmt.Sprintf("2001:db8:%x:%x::/64", i>>16, i&0xffff), noon)
			}
			return b
		},
		"totals of lists": func() any {
			m, err := newMemo[int64](maxCounts, countSeen)
			if err != nil {
				t.Fatal(err)
			}
			for i := range entries {
				m.set(listKey("org1", dataset.VIPMessages, jobs.Params{"label": fmt.Sprint("label", i)}), int64(i), noon)
			}
			return m
		},
		"where pages begin, by long ids": func() any {
			m, err := newHeavyMemo(positionBytes, positionSeen, positionWeight)
			if err != nil {
				t.Fatal(err)
			}
			key, long := listKey("org1", dataset.VIPUsers, jobs.Params{}), strings.Repeat("x", 1400)
			for i := range entries {
				m.set(key+"@"+strconv.Itoa(i), &vip.Position{Key: vip.DoubleKey(1), ID: fmt.Sprint(long, i)}, noon)
			}
			return m
		},
		"files that are there": func() any {
			f, err := newFiles()
			if err != nil {
				t.Fatal(err)
			}
			for i := range entries {
				f.until.Set(fmt.Sprintf("exports/org1/%026d/%020d.csv#%d", i, i, i), noon)
			}
			return f
		},
		"cursors of messages": func() any {
			q := dataset.VIPMessages.Query("org1", jobs.Params{"from": noon.AddDate(0, 0, -31), "to": noon})
			for i := range entries {
				if _, err := q.ParsePageToken(q.PageToken(vip.Position{Key: vip.TimeKey(noon), ID: strconv.Itoa(i)})); err != nil {
					t.Fatal(err)
				}
			}
			return q
		},
		"connections' places by address": func() any {
			p := newSemaphore(defaultConnections)
			for i := range entries {
				addr := fmt.Sprintf("2001:db8:%x:%x::/64", i>>16, i&0xffff)
				p.acquire(addr, addr)
			}
			return p
		},
		"places of requests that wait": func() any {
			p := newSemaphore(4000)
			for i := range entries { // all that are taken stay so
				p.acquire(fmt.Sprint("org", i), fmt.Sprint("key", i))
			}
			return p
		},
		"places that were given back": func() any {
			p := newSemaphore(4000)
			for i := range entries {
				if leave, _ := p.acquire(fmt.Sprint("org", i), fmt.Sprint("key", i)); leave != nil {
					leave()
				}
			}
			return p
		},
	} {
		before := heaptest.InUse()
		table := fill()
		grown := heaptest.InUse() - before
		runtime.KeepAlive(table)
		t.Logf("%-30s %d entries: %.2f MiB", name, entries, float64(grown)/(1<<20))
		if grown > most {
			t.Errorf("%s: %d MiB after %d entries, want at most %d", name, grown>>20, entries, most>>20)
		}
	}
}

// TestDocsPolicyOfEachFile: every file of the documentation has a policy that runs and shows nothing of other
// origins and nothing inline, and cannot be framed; the page needs nothing else.
func TestDocsPolicyOfEachFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{"/docs", "/docs/nightly", "/docs/callbacks", "/docs/keys", "/docs/file", "/docs/sandbox", "/docs/signing", "/docs/errors", "/docs/try", "/docs/reference", "/docs/python", "/docs/typescript", "/docs/docs.js", "/docs/try.js", "/docs/sign.js", "/docs/docs.css", "/docs/vectors.json", "/docs/nightly.py", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"} {
		w := b.do(request(t, "", http.MethodGet, path))
		wantStatus(t, w, http.StatusOK)
		policy := map[string]string{}
		for directive := range strings.SplitSeq(w.Header().Get("Content-Security-Policy"), "; ") {
			name, value, _ := strings.Cut(directive, " ")
			policy[name] = value
		}
		for name, want := range map[string]string{"default-src": "'none'", "frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'"} {
			if policy[name] != want {
				t.Errorf("%s: %s %q, want %q", path, name, policy[name], want)
			}
		}
		for name, value := range policy {
			for source := range strings.FieldsSeq(value) {
				if source != "'none'" && source != "'self'" && (source != "data:" || name != "img-src") {
					t.Errorf("%s: %s allows %s", path, name, source)
				}
			}
		}
		if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options = %q", path, got)
		}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			continue
		}
		page := strings.ToLower(w.Body.String())
		for _, inline := range []string{"<style", " style=", "javascript:", " onload=", " onclick=", " onerror=", "src=\"http", "<img", "<iframe"} {
			if strings.Contains(page, inline) {
				t.Errorf("the page has %q, which its policy stops", inline)
			}
		}
		for _, script := range strings.Split(page, "<script")[1:] {
			if tag, text, _ := strings.Cut(script, ">"); !strings.Contains(tag, " src=") || !strings.HasPrefix(text, "</script>") {
				t.Errorf("the page has a script of its own: <script%.80s", script)
			}
		}
	}
}

func packZeros(to io.Writer, n int) error {
	w, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for ; n > 0; n -= len(zeros) {
		if _, err := w.Write(zeros); err != nil {
			return err
		}
	}
	return w.Close()
}

func heapTotal() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestPackedBodies: a body that says it is packed is read as it was sent, and is no JSON: nothing inflates
// what a stranger sends. It runs alone, as it measures what is allocated.
func TestPackedBodies(t *testing.T) {
	b := newBench(t)
	j := b.jobs.set(succeeded())
	var packed strings.Builder
	if err := packZeros(&packed, 40<<20); err != nil {
		t.Fatal(err)
	}
	if packed.Len() > maxBodyBytes {
		t.Fatalf("the bomb has %d bytes, which are refused for their number", packed.Len())
	}
	begun := heapTotal()
	w := b.do(withHeader(withBody(request(t, "key_ops1", "POST", "/ops/jobs/"+j.ID+"/cancel"), packed.String()), "Content-Encoding", "gzip"))
	if used := heapTotal() - begun; w.Code < 400 || w.Code >= 500 || used > 8<<20 {
		t.Errorf("%d bytes that inflate to 40 MiB: %d %s, %d bytes allocated meanwhile", packed.Len(), w.Code, w.Body, used)
	} else {
		t.Logf("%d bytes that inflate to 40 MiB: %d, %.2f MiB allocated meanwhile", packed.Len(), w.Code, float64(used)/(1<<20))
	}
}

// TestOverviewsInMemory asks for overviews of many windows, as one key can, each as large as one may be that
// is remembered, of an org whose labels are long: their bytes have a bound, not their number alone. It runs
// alone, as it measures the heap.
func TestOverviewsInMemory(t *testing.T) {
	const most, asked = 24 << 20, 100
	b := newBench(t)
	caller, long := &apikey.Key{ID: "key_one1", OrgID: "org1"}, strings.Repeat("x", 400)
	before := heaptest.InUse()
	for i := range asked {
		b.records.counts = make([]records.LabelCount, maxLabels)
		for l := range maxLabels {
			b.records.counts[l] = records.LabelCount{Label: fmt.Sprint(long, i, "/", l), Count: 1}
		}
		f := jobs.Params{"from": noon.Add(time.Duration(i) * time.Millisecond), "to": noon.AddDate(0, 0, 31)}
		if a, err := b.labels(t.Context(), caller, f); err != nil || len(a.counts) != maxLabels {
			t.Fatalf("labels() = %d, %v", len(a.counts), err)
		}
	}
	b.records.counts = nil
	grown := heaptest.InUse() - before
	t.Logf("%d overviews of %d labels of %d bytes: %.1f MiB", asked, maxLabels, len(long), float64(grown)/(1<<20))
	if grown > most {
		t.Errorf("%d MiB stay in memory, want at most %d", grown>>20, most>>20)
	}
	small := jobs.Params{"from": noon.AddDate(0, 0, -1), "to": noon}
	b.records.counts = []records.LabelCount{{Label: "a", Count: 1}}
	if _, err := b.labels(t.Context(), caller, small); err != nil {
		t.Fatal(err)
	}
	b.records.counts = nil
	if a, err := b.labels(t.Context(), caller, small); err != nil || len(a.counts) != 1 {
		t.Errorf("an overview that was made just before: %+v, %v, want it from memory", a, err)
	}
	runtime.KeepAlive(b)
}
