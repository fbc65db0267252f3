package localcloud

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/storage/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// browser shows the data of all three services in pages that only read. It calls the services as any client
// does, at addresses of one account, so that it shows what that account may see.
type browser struct {
	cloud     *Cloud
	firestore firestorepb.FirestoreClient
	admin     adminpb.FirestoreAdminClient
	pubsub    pubsubpb.PublisherClient
	subs      pubsubpb.SubscriberClient
	storage   string // host:port
}

const (
	// browseRows are on a page of documents or objects.
	browseRows = 50
	// browseText is how many bytes of one value, or of a document in a list, are shown.
	browseText = 400
	// maxBrowseAnswer bounds an answer of Cloud Storage: a page of objects with 8 KiB of metadata each.
	maxBrowseAnswer = 4 << 20
)

//go:embed browse.html
var browseHTML string

var browsePage = template.Must(template.New("browse").Funcs(template.FuncMap{"parts": nameParts}).Parse(browseHTML))

// cell is text, which may lead somewhere.
type cell struct {
	Text, Link string
	Code       bool
	Whole      bool // it is short, and stays on one line
}

// nameParts are those between which a line may end, where there is a choice.
func nameParts(name string) []string {
	var parts []string
	for name != "" {
		i := strings.IndexAny(name, "/-_.:~@=&?,{[") + 1
		if i == 0 {
			i = len(name)
		}
		parts, name = append(parts, name[:i]), name[i:]
	}
	return parts
}

type table struct {
	Title string
	Head  []string
	Rows  [][]cell
	None  string // said when there are no rows
}

type page struct {
	Title  string
	Error  string
	Query  *queryForm
	Tables []table
	Next   string
}

func (b *browser) register(mux *http.ServeMux) {
	for path, show := range map[string]func(*http.Request, *page) error{
		"GET /browse/{$}": b.databases, "GET /browse/pubsub": b.backlogs, "GET /browse/storage": b.buckets, "GET /browse/storage/{bucket}": b.objects,
		"GET /browse/projects/{project}/databases/{database}/documents":           b.documents,
		"GET /browse/projects/{project}/databases/{database}/documents/{path...}": b.documents,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			p := page{}
			if err := show(r, &p); err != nil {
				p.Error = status.Convert(err).Message()
			}
			h := w.Header()
			h.Set("Content-Type", "text/html; charset=UTF-8")
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Cache-Control", "no-store")
			_ = browsePage.Execute(w, p) // the client is gone if this fails
		})
	}
}

// databases shows those whose metadata the account may get.
func (b *browser) databases(r *http.Request, p *page) error {
	p.Title = "Firestore"
	t := table{Head: []string{"Database"}, None: "There is no database yet: one is there as soon as a client uses it."}
	for _, name := range b.cloud.stores.firestore.Databases() {
		if _, err := b.admin.GetDatabase(r.Context(), &adminpb.GetDatabaseRequest{Name: name}); err != nil {
			p.Error, t.None = status.Convert(err).Message(), "There is no database that this account may look at."
			continue
		}
		t.Rows = append(t.Rows, []cell{{Text: name, Link: "/browse/" + name + "/documents"}})
	}
	p.Tables = []table{t}
	return nil
}

// browsePath is the link to what a name of Firestore says.
func browsePath(name string) string {
	parts := strings.Split(name, "/")
	for i, s := range parts {
		parts[i] = url.PathEscape(s)
	}
	return "/browse/" + strings.Join(parts, "/")
}

// documents shows a database, a collection or a document, as the number of segments says.
func (b *browser) documents(r *http.Request, p *page) error {
	root := "projects/" + r.PathValue("project") + "/databases/" + r.PathValue("database") + "/documents"
	// The escaped path is split, as an id may hold what looks like a separator.
	_, below, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/browse/"), "/documents")
	var parts []string
	for _, s := range strings.Split(strings.Trim(below, "/"), "/") {
		id, err := url.PathUnescape(s)
		if err != nil {
			return err
		}
		if id != "" {
			parts = append(parts, id)
		}
	}
	name := strings.Join(append([]string{root}, parts...), "/")
	p.Title = strings.TrimPrefix(name, "projects/")
	switch {
	case len(parts)%2 == 1:
		return b.collection(r, p, name)
	case len(parts) > 0:
		if err := b.document(r.Context(), p, name); err != nil {
			p.Error = status.Convert(err).Message() // it may have collections anyway
		}
	}
	return b.collections(r.Context(), p, name)
}

func (b *browser) collections(ctx context.Context, p *page, parent string) error {
	resp, err := b.firestore.ListCollectionIds(ctx, &firestorepb.ListCollectionIdsRequest{Parent: parent, PageSize: 1000})
	if err != nil {
		return err
	}
	t := table{Title: "Collections", Head: []string{"Collection"}, None: "There are no collections here."}
	for _, id := range resp.GetCollectionIds() {
		t.Rows = append(t.Rows, []cell{{Text: id, Link: browsePath(parent + "/" + id)}})
	}
	if resp.GetNextPageToken() != "" {
		t.Rows = append(t.Rows, []cell{{Text: "… and more than are shown here"}})
	}
	p.Tables = append(p.Tables, t)
	return nil
}

func (b *browser) document(ctx context.Context, p *page, name string) error {
	doc, err := b.firestore.GetDocument(ctx, &firestorepb.GetDocumentRequest{Name: name})
	if err != nil {
		return err
	}
	t := table{Head: []string{"Field", "Value"}, None: "The document has no fields."}
	for _, f := range sortedFields(doc) {
		t.Rows = append(t.Rows, []cell{{Text: f}, {Text: browseValue(doc.GetFields()[f]), Code: true}})
	}
	p.Tables = append(p.Tables, t, table{Head: []string{"Created", "Updated"}, Rows: [][]cell{{moment(doc.GetCreateTime().AsTime()), moment(doc.GetUpdateTime().AsTime())}}})
	return nil
}

// collection lists documents, missing ones with descendants too, or those of the query in the form.
func (b *browser) collection(r *http.Request, p *page, name string) (err error) {
	i := strings.LastIndexByte(name, '/')
	p.Query = newQueryForm(r.URL.Query())
	t := table{Head: []string{"Document", "Fields", "Updated"}, None: "There are no such documents."}
	defer func() {
		if err == nil || len(t.Rows) > 0 {
			p.Tables = append(p.Tables, t)
		}
	}()
	add := func(d *firestorepb.Document) {
		id := d.GetName()[strings.LastIndexByte(d.GetName(), '/')+1:]
		if d.GetCreateTime() == nil {
			t.Rows = append(t.Rows, []cell{{Text: id, Link: browsePath(d.GetName())}, {Text: "(missing; there are documents below it)"}, {}})
			return
		}
		t.Rows = append(t.Rows, []cell{{Text: id, Link: browsePath(d.GetName())}, {Text: summary(d), Code: true}, moment(d.GetUpdateTime().AsTime())})
	}
	if p.Query.empty() {
		req := &firestorepb.ListDocumentsRequest{Parent: name[:i], CollectionId: name[i+1:], PageSize: browseRows, PageToken: r.URL.Query().Get("page"), ShowMissing: true}
		resp, err := b.firestore.ListDocuments(r.Context(), req)
		if err != nil {
			return err
		}
		for _, d := range resp.GetDocuments() {
			add(d)
		}
		if token := resp.GetNextPageToken(); token != "" {
			p.Next = browsePath(name) + "?page=" + url.QueryEscape(token)
		}
		return nil
	}
	q, err := p.Query.query(name[i+1:])
	if err != nil {
		return err
	}
	rows, err := b.firestore.RunQuery(r.Context(), &firestorepb.RunQueryRequest{Parent: name[:i], QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: q}})
	for err == nil {
		var row *firestorepb.RunQueryResponse
		if row, err = rows.Recv(); err == nil && row.GetDocument() != nil {
			add(row.GetDocument())
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// backlogs asks the service first: topics and subscriptions are each for who may list them, in every project.
func (b *browser) backlogs(r *http.Request, p *page) error {
	p.Title = "Pub/Sub"
	topics, subs := b.cloud.stores.pubsub.Backlogs()
	for project := range projects(topics) {
		if _, err := b.pubsub.ListTopics(r.Context(), &pubsubpb.ListTopicsRequest{Project: project, PageSize: 1}); err != nil {
			p.Error, topics = status.Convert(err).Message(), nil
			break
		}
	}
	for project := range projects(names(subs)) {
		if _, err := b.subs.ListSubscriptions(r.Context(), &pubsubpb.ListSubscriptionsRequest{Project: project, PageSize: 1}); err != nil {
			p.Error, subs = strings.TrimSpace(p.Error+"\n"+status.Convert(err).Message()), nil
			break
		}
	}
	t := table{Title: "Topics", Head: []string{"Topic"}, None: "There are no topics to be seen."}
	for _, name := range topics {
		t.Rows = append(t.Rows, []cell{{Text: name}})
	}
	s := table{Title: "Subscriptions", Head: []string{"Subscription", "Topic", "Waiting", "With subscribers", "Oldest published", "Pushed to"}, None: "There are no subscriptions to be seen."}
	for _, o := range subs {
		oldest := cell{}
		if !o.Oldest.IsZero() {
			oldest = moment(o.Oldest)
		}
		s.Rows = append(s.Rows, []cell{{Text: o.Subscription}, {Text: o.Topic}, number(uint64(o.Waiting)), number(uint64(o.Leased)), oldest, {Text: o.PushedTo}})
	}
	p.Tables = []table{t, s}
	return nil
}

// projects are those of resources, by their names.
func projects(names []string) map[string]bool {
	out := map[string]bool{}
	for _, name := range names {
		project, rest, _ := strings.Cut(strings.TrimPrefix(name, "projects/"), "/")
		if rest != "" {
			out["projects/"+project] = true
		}
	}
	return out
}

func (b *browser) buckets(r *http.Request, p *page) error {
	p.Title = "Cloud Storage"
	var list storage.Buckets
	if err := b.get(r.Context(), "/storage/v1/b", &list); err != nil {
		return err
	}
	t := table{Head: []string{"Bucket", "Location", "Created"}, None: "There are no buckets."}
	for _, o := range list.Items {
		t.Rows = append(t.Rows, []cell{{Text: o.Name, Link: "/browse/storage/" + url.PathEscape(o.Name)}, {Text: o.Location}, stamp(o.TimeCreated)})
	}
	p.Tables = []table{t}
	return nil
}

func (b *browser) objects(r *http.Request, p *page) error {
	bucket, q := r.PathValue("bucket"), url.Values{"maxResults": {strconv.Itoa(browseRows)}}
	p.Title = "Bucket " + bucket
	if token := r.URL.Query().Get("page"); token != "" {
		q.Set("pageToken", token)
	}
	var list storage.Objects
	if err := b.get(r.Context(), "/storage/v1/b/"+url.PathEscape(bucket)+"/o?"+q.Encode(), &list); err != nil {
		return err
	}
	t := table{Head: []string{"Object", "Bytes", "Type", "Generation", "Updated"}, None: "The bucket is empty."}
	for _, o := range list.Items {
		t.Rows = append(t.Rows, []cell{{Text: o.Name}, number(o.Size), {Text: o.ContentType}, number(uint64(o.Generation)), stamp(o.Updated)})
	}
	p.Tables = []table{t}
	if list.NextPageToken != "" {
		p.Next = "/browse/storage/" + url.PathEscape(bucket) + "?page=" + url.QueryEscape(list.NextPageToken)
	}
	return nil
}

// get reads an answer of the JSON API.
func (b *browser) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.storage+path, nil)
	if err != nil {
		return err
	}
	req.Close = true // no connection is left when the cloud closes
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBrowseAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var refused struct{ Error struct{ Message string } }
		_ = json.Unmarshal(raw, &refused) // the status says enough without
		return fmt.Errorf("%s: %s", resp.Status, refused.Error.Message)
	}
	return json.Unmarshal(raw, v)
}

func browseTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

func moment(t time.Time) cell { return cell{Text: browseTime(t), Whole: true} }

func number(n uint64) cell { return cell{Text: strconv.FormatUint(n, 10), Whole: true} }

// stamp is the moment that the JSON API writes so.
func stamp(raw string) cell {
	t, err := time.Parse(time.RFC3339Nano, raw)
	if err != nil {
		return cell{Text: raw}
	}
	return moment(t)
}

// newBrowser is for the account whose Firestore is at addr.
func newBrowser(c *Cloud, conn, pubsub grpc.ClientConnInterface, storage string) *browser {
	return &browser{cloud: c, firestore: firestorepb.NewFirestoreClient(conn), admin: adminpb.NewFirestoreAdminClient(conn), pubsub: pubsubpb.NewPublisherClient(pubsub), subs: pubsubpb.NewSubscriberClient(pubsub), storage: storage}
}
