package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// edge is a documented limit. send makes a request that is n in the unit of the limit: characters, bytes,
// entries, or the number itself.
type edge struct {
	what  string // for a fault its path
	limit int
	lower bool // nothing below it is taken; else nothing above
	exact bool // nothing but it is taken
	send  func(n int) *http.Request
	// refused is the status of a refusal, says part of its text; of a fault (422) says is the limit itself if
	// empty.
	refused int
	says    string
	// secret: what was given is not repeated.
	secret bool
	// barren: nothing that long is taken at all, so that only what is above is tried.
	barren bool
}

func letters(n int) string { return strings.Repeat("x", n) }

// number is a whole number as it is given.
func number(n int) string { return strconv.Itoa(n) }

// entries is a JSON array of n strings.
func entries(n int, text string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(strconv.Quote(text)+",", n), ",") + "]"
}

// between is a lower and an upper limit of a parameter or field.
func between(what string, low, high int, send func(int) *http.Request) []edge {
	return []edge{{what: what, limit: low, lower: true, send: send, refused: 422}, {what: what, limit: high, send: send, refused: 422}}
}

// notEmpty is a text that may have one character.
func notEmpty(what string, send func(int) *http.Request) edge {
	return edge{what: what, limit: 1, lower: true, send: send, refused: 422, says: "not allowed to be empty"}
}

// named is a text of a set: one of them, and what is longer is none.
func named(what, one string, most int, query func(name string, value func(int) string) func(int) *http.Request) []edge {
	return []edge{
		notEmpty(what, query(what, func(n int) string { return one[:len(one)*min(n, 1)] })),
		{what: what, limit: most, send: query(what, letters), refused: 422, barren: true},
	}
}

// field sends a body with a value in it.
func field(t *testing.T, key, method, target, format string, value func(int) string) func(int) *http.Request {
	return func(n int) *http.Request {
		return withBody(request(t, key, method, target), fmt.Sprintf(format, value(n)))
	}
}

const gateParams, windowParams = "workspaceId=ws1&mediumId=ch1&", "from=2026-06-01&to=2026-06-10&"

// paramsOf are parameters that the routes of a dataset require, for key_one1.
func paramsOf(d *dataset.Dataset) (params string) {
	if d.Gate.VIP() {
		params += gateParams
	}
	if d.Window != nil {
		params += windowParams
	}
	return params
}

// edges lists the limits.
func edges(t *testing.T, b *bench) (list []edge) {
	add := func(e ...edge) { list = append(list, e...) }
	query := func(key, target, name string, value func(int) string) func(int) *http.Request {
		return func(n int) *http.Request { return request(t, key, "GET", target+name+"="+value(n)) }
	}
	gate := func(target string) {
		add(between("workspaceId", 1, 1500, query("key_one1", target+"mediumId=ch1&", "workspaceId", letters))...)
		add(between("mediumId", 1, 1500, query("key_one1", target+"workspaceId=ws1&", "mediumId", letters))...)
	}
	gate("/vip-labels/overview?" + windowParams)
	for _, d := range dataset.BuiltIn {
		params := paramsOf(d)
		add(between("limit", 1, 200, query("key_one1", "/"+d.Name+"?"+params, "limit", number))...)
		if d.List.Cursor == "" {
			add(between("offset", 0, 1<<31-1, query("key_one1", "/"+d.Name+"?"+params, "offset", number))...)
		}
		export := func(name string, value func(int) string) func(int) *http.Request {
			return query("key_one1", "/"+d.Name+"/export?"+params, name, value)
		}
		add(named(jobs.ParamColumns, dataset.IDColumn, dataset.FileParamOf(jobs.ParamColumns).Most, export)...)
		add(named(jobs.ParamTimezone, "UTC", dataset.FileParamOf(jobs.ParamTimezone).Most, export)...)
		for _, target := range []string{"/" + d.Name + "?", "/" + d.Name + "/export?"} {
			if d.Gate.VIP() {
				gate(target + strings.TrimPrefix(params, gateParams))
			}
			for _, f := range d.Filters {
				switch {
				case f.Type == dataset.Number:
					add(between(f.Param, f.Min, f.Max, query("key_one1", target+params, f.Param, number))...)
				case f.Type == dataset.Text && len(f.Values) == 0:
					add(between(f.Param, 1, 1500, query("key_one1", target+params, f.Param, letters))...)
				}
			}
		}
	}
	add(between("workspaceId", 1, 1500, query("key_one1", "/channels?", "workspaceId", letters))...)
	before := func(n int) string { // a cursor at a document with an id of n bytes, the longest that Firestore has
		q := dataset.VIPMessages.Query("org1", jobs.Params{"workspaceId": "ws1", "mediumId": "ch1",
			"from": time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), "to": time.Date(2026, 6, 11, 0, 0, 0, 0, time.UTC)})
		return q.PageToken(vip.Position{Key: vip.TimeKey(noon), ID: letters(n)})
	}
	add(edge{what: "before", limit: 1500, refused: 422, says: "nextCursor", send: query("key_one1", "/vip-messages?"+paramsOf(dataset.VIPMessages), "before", before)})
	for target, key := range map[string]string{"/exports?": "key_one1", "/ops/jobs?": "key_ops1", "/ops/causes?": "key_ops1", "/ops/callbacks?": "key_ops1", "/ops/audit?": "key_ops1", "/ops/jobs/" + b.jobs.set(succeeded()).ID + "/downloads?": "key_ops1"} {
		add(between("pageSize", 1, 100, query(key, target, "pageSize", number))...)
		add(notEmpty("pageToken", query(key, target, "pageToken", letters)),
			edge{what: "pageToken", limit: 512, send: query(key, target, "pageToken", letters), refused: 422, says: "nextPageToken of the page before"})
	}
	add(between("orgId", 1, 1500, query("key_ops1", "/ops/jobs?", "orgId", letters))...)
	for _, name := range []string{"actor", "target"} {
		add(between(name, 1, 1500, query("key_ops1", "/ops/audit?", name, letters))...)
	}
	for _, name := range []string{"q", "requestId", "batch", "callbackHost", "text", "label", "contentType"} {
		add(between(name, 1, 1500, query("key_ops1", "/ops/jobs?", name, letters))...)
	}
	add(between("minAttempts", 1, 1000, query("key_ops1", "/ops/jobs?", "minAttempts", number))...)
	add(between("orgId", 1, 1500, query("key_ops1", "/ops/causes?", "orgId", letters))...)
	add(between("orgId", 1, 1500, query("key_ops1", "/ops/callbacks?", "orgId", letters))...)
	add(between("origin", 1, 1500, query("key_ops1", "/ops/callbacks?", "origin", letters))...)
	add(between("orgId", 1, 1500, query("key_ops1", "/ops/receivers/history?", "orgId", letters))...)
	add(between("origin", 1, 1500, query("key_ops1", "/ops/receivers/history?", "origin", letters))...)
	add(between("orgId", 1, 1500, query("key_ops1", "/ops/stats?since=1h&", "orgId", letters))...)
	add(between("workspaceId", 1, 1500, query("key_ops1", "/ops/jobs?", "workspaceId", letters))...)
	add(between("orgId", 1, 1500, query("key_admn", "/admin/keys?", "orgId", letters))...)

	for _, d := range dataset.BuiltIn {
		target := "/" + d.Name + "/export?" + strings.TrimSuffix(paramsOf(d), "&")
		key := func(n int) *http.Request { return request(t, "key_one1", "GET", target, "Idempotency-Key", letters(n)) }
		callback := func(n int) *http.Request {
			const url = "https://hooks.example.com/"
			return request(t, "key_one1", "GET", target+"&callbackUrl="+url+letters(n-len(url)))
		}
		add(notEmpty("Idempotency-Key", key), edge{what: "Idempotency-Key", limit: 255, refused: 422, send: key},
			edge{what: "callbackUrl", limit: 2048, refused: 422, secret: true, send: callback})
	}
	list = append(list, bodyEdges(t, b)...)
	return slices.Concat(list, keyEdges(t), sizeEdges(t), timeEdges(t), signatureEdges(t))
}

// bodyEdges are the limits of what is changed by a body.
func bodyEdges(t *testing.T, b *bench) (list []edge) {
	add := func(e ...edge) { list = append(list, e...) }
	job := b.jobs.set(succeeded())
	for _, r := range b.routes() {
		if r.method == http.MethodGet || r.scopes == nil || strings.HasSuffix(r.path, "/callback/test") {
			continue
		}
		key := "key_one1"
		switch {
		case strings.HasPrefix(r.path, "/ops/"):
			key = "key_ops1"
		case strings.HasPrefix(r.path, "/admin/"):
			key = "key_admn"
		}
		target := strings.NewReplacer(":jobId", job.ID, ":keyId", "key_nobody", ":queue", "exports").Replace(r.path)
		add(between("reason", 1, 500, field(t, key, r.method, target, `{"reason":"%s"}`, letters))...)
	}
	add(between("maxPerSecond", 1, 100, field(t, "key_ops1", "POST", "/ops/jobs/rerun", `{"reason":"r","filter":{},"maxPerSecond":%s}`, number))...)
	add(between("filter.minAttempts", 1, 1000, field(t, "key_ops1", "POST", "/ops/jobs/rerun", `{"reason":"r","dryRun":true,"filter":{"minAttempts":%s}}`, number))...)
	for _, name := range []string{"orgId", "workspaceId", "q", "requestId", "batch", "callbackHost", "text", "label", "contentType"} {
		add(between("filter."+name, 1, 1500, field(t, "key_ops1", "POST", "/ops/jobs/rerun", `{"reason":"r","dryRun":true,"filter":{"`+name+`":"%s"}}`, letters))...)
	}
	add(between("filter.orgId", 1, 1500, field(t, "key_ops1", "POST", "/ops/callbacks/redeliver", `{"reason":"r","filter":{"state":"gone","orgId":"%s"}}`, letters))...)
	add(between("orgId", 1, 1500, field(t, "key_ops1", "POST", "/ops/receivers/resume", `{"reason":"r","origin":"https://hooks.example.com","orgId":"%s"}`, letters))...)
	add(between("orgId", 1, 128, field(t, "key_ops1", "POST", "/ops/links/revoke", `{"reason":"r","orgId":"%s"}`, letters))...)
	for _, n := range []int{1, 2, 511, 512, 513} { // tokens that the store gave
		b.jobs.callbacks = append(b.jobs.callbacks, &jobs.Callback{ID: letters(n), State: jobs.CallbackGone})
	}
	const cause = "/ops/causes/MISSING_INDEX-0a1b2c3d4e5f/rerun"
	add(between("maxJobs", 1, 20_000, field(t, "key_ops1", "POST", cause, `{"reason":"r","dryRun":true,"maxJobs":%s}`, number))...)
	add(between("maxJobs", 1, 20_000, field(t, "key_ops1", "POST", "/ops/jobs/rerun", `{"reason":"r","filter":{},"dryRun":true,"maxJobs":%s}`, number))...)
	add(between("maxPerSecond", 1, 100, field(t, "key_ops1", "POST", cause, `{"reason":"r","maxPerSecond":%s}`, number))...)
	add(between("orgId", 1, 1500, field(t, "key_ops1", "POST", cause, `{"reason":"r","orgId":"%s"}`, letters))...)
	ids := func(n int) string { return entries(n, jobs.NewID()) }
	many := field(t, "key_ops1", "POST", "/ops/jobs/rerun", `{"reason":"r","dryRun":true,"jobIds":%s}`, ids)
	add(edge{what: "jobIds", limit: jobs.MaxBatchIDs, refused: 422, send: many}, edge{what: "jobIds", limit: 1, lower: true, refused: 422, says: "a list of job ids", send: many})
	token := field(t, "key_ops1", "POST", "/ops/callbacks/redeliver", `{"reason":"r","filter":{"state":"gone"},"pageToken":"%s"}`, letters)
	add(notEmpty("pageToken", token), edge{what: "pageToken", limit: 512, refused: 422, says: "nextPageToken of the page before", send: token})
	return list
}

// keyEdges are the limits of keys.
func keyEdges(t *testing.T) (list []edge) {
	add := func(e ...edge) { list = append(list, e...) }
	draft := func(format string, value func(int) string) func(int) *http.Request {
		return field(t, "key_admn", "POST", "/admin/keys", `{"reason":"r",`+format+`}`, value)
	}
	add(between("name", 1, 100, draft(`"orgId":"o","scopes":[],"name":"%s"`, letters))...)
	add(between("minSignatureVersion", 1, 2, draft(`"orgId":"o","scopes":[],"name":"n","minSignatureVersion":%s`, number))...)
	for _, budget := range []string{"rowsPerDay", "readsPerDay"} {
		add(between(budget, 1, 1_000_000_000_000, draft(`"orgId":"o","scopes":[],"name":"n","`+budget+`":%s`, number))...)
	}
	for _, name := range []string{"rowsPerDay", "readsPerDay"} {
		add(between(name, 1, maxBudget, field(t, "key_admn", "POST", "/admin/keys/key_two2/budget", `{"reason":"r","`+name+`":%s}`, number))...)
		add(between("expected."+name, 1, maxBudget, field(t, "key_admn", "POST", "/admin/keys/key_nobody/budget", `{"reason":"r","rowsPerDay":1,"expected":{"`+name+`":%s}}`, number))...)
	}
	add(between("overlapSeconds", 0, 7*24*3600, field(t, "key_admn", "POST", "/admin/keys/key_two2/rotate", `{"reason":"r","overlapSeconds":%s}`, number))...)
	add(edge{what: "orgId", limit: 128, send: draft(`"orgId":"%s","scopes":[],"name":"n"`, letters), refused: 422, says: "1 to 128 visible ASCII"},
		notEmpty("orgId", draft(`"orgId":"%s","scopes":[],"name":"n"`, letters)),
		edge{what: "expiresAt", limit: 1, lower: true, refused: 422, says: "in the future", // seconds from now
			send: draft(`"orgId":"o","scopes":[],"name":"n","expiresAt":"%s"`, func(n int) string { return noon.Add(time.Duration(n) * time.Second).Format(time.RFC3339) })})
	for what, text := range map[string]string{"scopes": "read", "callbackHosts": "hooks.example.com", "ipRanges": "192.0.2.1"} {
		scopes := `"scopes":[],`
		if what == "scopes" {
			scopes = ""
		}
		add(edge{what: what, limit: 50, refused: 422, send: draft(`"orgId":"o","name":"n",`+scopes+`"`+what+`":%s`, func(n int) string { return entries(n, text) })})
	}
	return list
}

// sizeEdges are the limits of URL, headers and body, whatever is in them.
func sizeEdges(t *testing.T) []edge {
	sized := func(n int) *http.Request {
		r := request(t, "key_one1", "GET", "/workspaces")
		for name, v := range r.Header {
			n -= len(name) + len(v[0]) + 4
		}
		return withHeader(r, "X-Pad", letters(n-len("X-Pad")-4))
	}
	numbered := func(n int, format, separator string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(list, separator)
	}
	post := func(text string) *http.Request {
		return withBody(request(t, "key_ops1", "POST", "/ops/jobs/x/cancel"), text)
	}
	return []edge{
		{what: "URL", limit: 8 << 10, refused: 414, says: "8 KiB (8192 bytes), and has 8193", send: func(n int) *http.Request {
			return request(t, "key_one1", "GET", "/vip-users?x="+letters(n-len("/vip-users?x=")))
		}},
		{what: "headers", limit: 32 << 10, refused: 431, says: "32 KiB (32768 bytes) together, and have 32769", send: sized},
		{what: "body", limit: 64 << 10, refused: 413, says: "64 KiB (65536 bytes), and has 65537", send: func(n int) *http.Request {
			return post(`{"reason":"` + strings.Repeat(" ", n-13) + `"}`)
		}},
		{what: "body in chunks", limit: 64 << 10, refused: 413, says: "64 KiB (65536 bytes), and has more", send: func(n int) *http.Request {
			r := post(`{"reason":"` + strings.Repeat(" ", n-13) + `"}`)
			r.ContentLength = -1
			return r
		}},
		{what: "parameters", limit: 100, refused: 400, says: "at most 100 parameters are read, and there are 101", send: func(n int) *http.Request {
			return request(t, "key_one1", "GET", "/workspaces?"+numbered(n, "p%d=1", "&"))
		}},
		{what: "fields", limit: 100, refused: 400, says: "at most 100 fields are read, and there are 101", send: func(n int) *http.Request {
			return post("{" + numbered(n, `"p%d":1`, ",") + "}")
		}},
	}
}

// timeEdges are the limits of dates.
func timeEdges(t *testing.T) []edge {
	window := func(n int) *http.Request { // microseconds
		to := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Microsecond)
		return request(t, "key_one1", "GET", "/vip-messages?workspaceId=ws1&mediumId=ch1&from=2026-06-01T00:00:00Z&to="+to.Format(time.RFC3339Nano))
	}
	year := func(n int) *http.Request {
		return request(t, "key_ops1", "GET", fmt.Sprintf("/ops/jobs?createdAfter=%04d-06-01", n))
	}
	return []edge{
		{what: "to", limit: 31 * 24 * 3600 * 1e6, refused: 422, says: "at most 31 days", send: window},
		{what: "to", limit: 1, lower: true, refused: 422, says: `greater than "from"`, send: window},
		{what: "createdAfter", limit: 2, lower: true, refused: 422, says: "ISO 8601", send: year},
		{what: "createdAfter", limit: 9998, refused: 422, says: "ISO 8601", send: year},
	}
}

// signatureEdges are the limits of the headers that sign.
func signatureEdges(t *testing.T) []edge {
	const tooOld = "at most 60 s old and 5 s ahead"
	dated := func(date string) *http.Request {
		return withHeader(request(t, "key_one1", "GET", "/workspaces"), "x-date", date, "x-signature", apikey.Sign(testSecret, date))
	}
	old := func(n int) *http.Request { // milliseconds
		return dated(noon.Add(-time.Duration(n) * time.Millisecond).Format("2006-01-02T15:04:05.000Z"))
	}
	fraction := func(n int) *http.Request { return dated("2026-06-15T12:00:00." + strings.Repeat("0", n) + "Z") }
	id := func(n int) *http.Request {
		return withHeader(request(t, "key_one1", "GET", "/workspaces"), "x-api-key", letters(n))
	}
	signature := func(n int) *http.Request {
		return withHeader(request(t, "key_one1", "GET", "/workspaces"), "x-signature", strings.Repeat("a", n))
	}
	nonce := func(n int) *http.Request {
		return withHeader(requestV2(t, "key_one1", "GET", "/workspaces", ""), "x-nonce", letters(n))
	}
	return []edge{
		{what: "x-date, old", limit: 60_000, refused: 401, says: tooOld, send: old},
		{what: "x-date, ahead", limit: 5_000, refused: 401, says: tooOld, send: func(n int) *http.Request { return old(-n) }},
		{what: "x-date, digits of the second", limit: 9, refused: 401, says: "header x-date must be", send: fraction},
		{what: "x-api-key", limit: 8, lower: true, refused: 401, says: "x-api-key must be 8 to 64", send: id},
		{what: "x-api-key", limit: 64, refused: 401, says: "x-api-key must be 8 to 64", send: id},
		{what: "x-signature", limit: 64, exact: true, refused: 401, says: "x-signature must be 64", send: signature},
		{what: "x-nonce", limit: 22, lower: true, refused: 401, says: "22 to 64", send: nonce},
		{what: "x-nonce", limit: 64, refused: 401, says: "22 to 64", send: nonce},
	}
}

// TestEdges tries every documented limit at it, one below and one above. A refusal names the parameter, says
// what would be right, and repeats what was given, bounded.
func TestEdges(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Nonces = nonces() })
	list, tried := edges(t, b), 0
	for _, e := range list {
		for _, n := range []int{e.limit - 1, e.limit, e.limit + 1} {
			if e.barren && n <= e.limit {
				continue
			}
			want := n > e.limit && !e.lower || n < e.limit && e.lower || n != e.limit && e.exact
			r := e.send(n)
			name := fmt.Sprintf("%s %s, %s of %d", r.Method, r.URL.Path, e.what, n)
			w := b.do(r)
			tried++
			text, given, found := e.refusal(t, w.Code, w.Body.Bytes())
			switch {
			case found != want:
				t.Errorf("%s (limit %d) = %d %.200s, want refused: %t", name, e.limit, w.Code, w.Body, want)
			case !found:
			case !e.right(text):
				t.Errorf("%s: the refusal does not say what would be right: %s", name, text)
			case e.refused == 422 && !strings.HasPrefix(text, strconv.Quote(e.what[strings.LastIndex(e.what, ".")+1:])+" "):
				t.Errorf("%s: the refusal does not name it: %s", name, text)
			case len(given) > maxEcho+len("…"), e.refused == 422 && given == "" && n != 0 && !e.secret, e.secret && given != "":
				t.Errorf("%s: the refusal repeats %d bytes", name, len(given))
			case w.Body.Len() > 1024:
				t.Errorf("%s: the refusal has %d bytes", name, w.Body.Len())
			}
		}
	}
	for _, missing := range undocumented(list) {
		t.Errorf("openapi.yaml has a limit that is not tried: %s", missing)
	}
	t.Logf("limits %d, requests at, below and above them %d", len(list), tried)
}

// undocumented are the limits of parameters and bodies that openapi.yaml has and list has not.
func undocumented(list []edge) (missing []string) {
	tried := map[string]bool{}
	for _, e := range list {
		r := e.send(e.limit)
		for _, o := range contract.operations {
			if o.method == r.Method && o.path.MatchString(r.URL.Path) {
				tried[fmt.Sprint(o.name, " ", e.what, " ", e.limit)] = true
				break
			}
		}
	}
	for _, o := range contract.operations {
		need := func(what string, s *openapi3.Schema) {
			for _, limit := range limitsOf(s) {
				if name := fmt.Sprint(o.name, " ", what, " ", limit); !tried[name] {
					missing = append(missing, name)
				}
			}
		}
		for _, p := range slices.Concat(o.route.PathItem.Parameters, o.route.Operation.Parameters) {
			if p.Value.In != openapi3.ParameterInPath {
				need(p.Value.Name, p.Value.Schema.Value)
			}
		}
		if schema := o.bodyOf(); schema != nil {
			for name, member := range schema.Properties {
				need(name, member.Value)
				for inner, m := range member.Value.Properties {
					need(name+"."+inner, m.Value)
				}
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// limitsOf are the limits in a schema.
func limitsOf(s *openapi3.Schema) (limits []int) {
	for _, n := range []*float64{s.Min, s.Max} {
		if n != nil {
			limits = append(limits, int(*n))
		}
	}
	if s.MaxLength != nil { // without one a least length is that the text is not empty
		limits = append(limits, int(*s.MaxLength))
		if s.MinLength > 0 {
			limits = append(limits, int(s.MinLength))
		}
	}
	if s.MaxItems != nil {
		limits = append(limits, int(*s.MaxItems))
	}
	return limits
}

// The settings of a Server have limits as well.
func TestConfigEdges(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		set         func(*Config, time.Duration)
		limit, step time.Duration // step is to the first that is refused
	}{
		"DefaultWait": {func(c *Config, d time.Duration) { c.DefaultWait = d }, maxWait, 1},
		"URLLife":     {func(c *Config, d time.Duration) { c.URLLife = d }, 12 * time.Hour, 1},
		"MaxWaits":    {func(c *Config, d time.Duration) { c.MaxWaits = int(d) }, 0, -1},
	} {
		for _, d := range []time.Duration{tc.limit - tc.step, tc.limit, tc.limit + tc.step} {
			b := newBench(t)
			c := Config{Keys: b.keys.Lookup, Admin: b.keys, Records: b.records, Jobs: b.jobs, Queue: b.queue, Objects: b.objects, Operations: b.jobs}
			tc.set(&c, d)
			s, err := New(c)
			if want := d == tc.limit+tc.step; (err != nil) != want || want && !strings.Contains(err.Error(), what) {
				t.Errorf("New with %s of %s = %v, want refused: %t", what, d, err, want)
			}
			if err == nil {
				s.drain()
			}
		}
	}
}

// refusal is what an answer says against the parameter, and what it repeats of it.
func (e edge) refusal(t *testing.T, code int, body []byte) (text, given string, found bool) {
	t.Helper()
	if code != e.refused {
		return "", "", false
	}
	var answer struct {
		Message string
		Error   []fault
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if code == http.StatusUnauthorized { // also for keys that are well-formed and unknown
		return answer.Message, "", strings.Contains(answer.Message, e.says)
	}
	if code != http.StatusUnprocessableEntity {
		return answer.Message, "", true
	}
	for _, f := range answer.Error {
		if strings.Join(f.Path, ".") == e.what {
			given, _ = f.Context["value"].(string)
			return f.Message, given, true
		}
	}
	return "", "", false
}

// right reports whether a refusal says what would be right.
func (e edge) right(text string) bool {
	switch {
	case e.says != "":
		return strings.Contains(text, e.says)
	case e.lower && e.limit == 1 && strings.Contains(text, "is not allowed to be empty"):
		return true
	}
	return strings.Contains(text, number(e.limit))
}
