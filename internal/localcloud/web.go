package localcloud

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/reflect/protoreflect"

	"exportd/internal/localcloud/rest"
	"exportd/internal/loopback"
)

// web is what answers HTTP/1.1 on a port of gRPC.
type web struct {
	name, variable string // of the service, and of what points clients at it
	services       []protoreflect.ServiceDescriptor
	fits           func(protoreflect.MethodDescriptor, string) bool
	links          string
	cloud          *Cloud // whose data is shown; nil for none
	log            *zap.Logger
}

func firestoreWeb(c *Cloud, log *zap.Logger) *web {
	return &web{
		cloud: c, log: log.Named("firestore"),
		name: "Firestore", variable: "FIRESTORE_EMULATOR_HOST", fits: firestorePath,
		services: []protoreflect.ServiceDescriptor{firestorepb.File_google_firestore_v1_firestore_proto.Services().ByName("Firestore")},
		links: `<p><a href="/browse/">Look at the data of all three services</a></p>
<p>Collections: <code>curl -X POST http://HOST/v1/projects/PROJECT/databases/(default)/documents:listCollectionIds</code><br>
Documents: <code>curl http://HOST/v1/projects/PROJECT/databases/(default)/documents/COLLECTION</code><br>
Delete all: <code>curl -X DELETE http://HOST/emulator/v1/projects/PROJECT/databases/(default)/documents</code></p>`,
	}
}

func pubsubWeb(log *zap.Logger) *web {
	services := pubsubpb.File_google_pubsub_v1_pubsub_proto.Services()
	return &web{
		log:  log.Named("pubsub"),
		name: "Pub/Sub", variable: "PUBSUB_EMULATOR_HOST", services: []protoreflect.ServiceDescriptor{services.ByName("Publisher"), services.ByName("Subscriber")},
		links: `<p>Topics: <code>curl http://HOST/v1/projects/PROJECT/topics</code><br>
Subscriptions: <code>curl http://HOST/v1/projects/PROJECT/subscriptions</code></p>`,
	}
}

// firestorePath tells a document from a collection, of which the annotations make no difference: a document's
// path has pairs of segments.
func firestorePath(m protoreflect.MethodDescriptor, path string) bool {
	_, below, ok := strings.Cut(path, "/documents")
	if !ok {
		return true
	}
	pairs := strings.Count(below, "/")%2 == 0
	return pairs || m.Name() == "RunQuery" // which any path may be sent to, and refuse
}

// serve answers on l until it is closed. addr is the gRPC server's own, so that accounts stay who they are.
func (p *web) serve(l net.Listener, addr string) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes), grpc.MaxCallSendMsgSize(maxAnswerBytes)))
	if err != nil {
		return fmt.Errorf("connect for HTTP: %w", err)
	}
	// Made when it is needed: reading all annotations is a tenth of what a start takes.
	api := sync.OnceValues(func() (*rest.Handler, error) { return rest.New(conn, p.fits, p.services...) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.page)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h, err := api()
		if err != nil {
			rest.Fail(w, err)
			return
		}
		h.ServeHTTP(w, r)
	})
	if p.cloud != nil {
		e := p.cloud.peers(addr)
		peer, err := grpc.NewClient(e.PubSub, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return errors.Join(fmt.Errorf("connect for pages: %w", err), conn.Close())
		}
		defer func() { _ = peer.Close() }() // unused by then
		newBrowser(p.cloud, conn, peer, e.Storage).register(mux)
		mux.HandleFunc("DELETE /emulator/v1/projects/{project}/databases/{database}/documents", func(w http.ResponseWriter, r *http.Request) {
			err := deleteDocuments(r.Context(), firestorepb.NewFirestoreClient(conn), "projects/"+r.PathValue("project")+"/databases/"+r.PathValue("database"))
			if err != nil {
				rest.Fail(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
			_, _ = io.WriteString(w, "{}\n") // the client is gone if this fails
		})
	}
	server := &http.Server{Handler: notForPages(mux), ErrorLog: errorLog(p.log), ReadHeaderTimeout: peekLimit, IdleTimeout: 2 * time.Minute}
	err = server.Serve(l)
	return errors.Join(server.Close(), conn.Close(), ignoreClosed(err))
}

// maxAnswerBytes is above what any message of either service may be.
const maxAnswerBytes = 64 << 20

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// notForPages refuses what a page of another site could send: there are no credentials that would stop it.
func notForPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		if !loopback.IsHost(r.Host) || r.Header.Get("Origin") != "" || site != "" && site != "same-origin" && site != "none" {
			http.Error(w, "This server is not for web pages, and answers to loopback addresses only.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *web) page(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=UTF-8")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	host := html.EscapeString(r.Host)
	_, _ = fmt.Fprintf(w, "<!doctype html><title>Embedded %[1]s</title><h1>Embedded %[1]s</h1>\n<p>This port speaks gRPC, and the REST form of the same calls. Google's clients find it by <code>%[2]s=%[3]s</code>.</p>\n%[4]s\n",
		p.name, p.variable, host, strings.ReplaceAll(p.links, "HOST", host)) // the client is gone if this fails
}

// deleteBatch is how many deletions go into one call, of which production allows 500.
const deleteBatch = 500

// deleteDocuments deletes all that there is in a database, as test tools expect of an emulator.
func deleteDocuments(ctx context.Context, c firestorepb.FirestoreClient, database string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := c.RunQuery(ctx, &firestorepb.RunQueryRequest{
		Parent: database + "/documents",
		QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: &firestorepb.StructuredQuery{
			From:   []*firestorepb.StructuredQuery_CollectionSelector{{AllDescendants: true}},
			Select: &firestorepb.StructuredQuery_Projection{Fields: []*firestorepb.StructuredQuery_FieldReference{{FieldPath: "__name__"}}},
		}},
	})
	if err != nil {
		return err
	}
	var batch []*firestorepb.Write
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		_, err := c.Commit(ctx, &firestorepb.CommitRequest{Database: database, Writes: batch})
		batch = nil
		return err
	}
	for {
		row, err := rows.Recv()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		if name := row.GetDocument().GetName(); name != "" {
			batch = append(batch, &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: name}})
		}
		if len(batch) == deleteBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}
