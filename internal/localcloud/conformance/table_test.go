//go:build conformance

package conformance

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"exportd/internal/localcloud"
)

// tableJSON has a row for each call, in the JSON form of the API, so that a client in any language can make
// them in this order.
//
//go:embed testdata/calls.json
var tableJSON []byte

//go:embed testdata/calls.indexes.json
var tableIndexes []byte

// row is a call and what production answers.
type row struct {
	Name    string          `json:"name"`
	Service string          `json:"service"` // firestore, pubsub, storage
	Call    string          `json:"call"`    // a method of gRPC, or the verb and path of the JSON API
	Request json.RawMessage `json:"request"`
	// Code is a name of gRPC's, or a number of HTTP.
	Code string `json:"code"`
	// Answer is a part of what is answered; a text that begins with ~ is a part of one. A stream is a list.
	Answer any `json:"answer"`
	// Docs are the ids of the documents of a stream, in its order.
	Docs []string `json:"docs"`
	// Google says why Google's emulator answers something else than production.
	Google string `json:"google"`
}

// places stands for names that clients choose.
var places = strings.NewReplacer("$DB", "projects/demo-table/databases/(default)", "$P", "projects/demo-table")

// TestTable makes the calls of testdata/calls.json on the embedded cloud.
func TestTable(t *testing.T) {
	cloud, err := localcloud.Start(t.Context(), localcloud.Config{InMemory: true, IndexesJSON: tableIndexes})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cloud.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	e := cloud.Endpoints()
	makeCalls(t, map[string]string{"firestore": e.Firestore, "pubsub": e.PubSub, "storage": e.Storage}, false)
}

// makeCalls makes the calls of the services that have a host. Google's answer is no error where a row says
// why it is another.
func makeCalls(t *testing.T, hosts map[string]string, google bool) {
	t.Helper()
	var rows []row
	if err := json.Unmarshal([]byte(places.Replace(string(tableJSON))), &rows); err != nil {
		t.Fatal(err)
	}
	right, all, excused := map[string]int{}, map[string]int{}, 0
	for _, r := range rows {
		if hosts[r.Service] == "" {
			continue
		}
		all[r.Service]++
		err := r.run(t, hosts[r.Service])
		switch {
		case err == nil:
			right[r.Service]++
		case google && r.Google != "":
			excused++
			t.Logf("%s: %v: %s", r.Name, err, r.Google)
		default:
			t.Errorf("%s: %v", r.Name, err)
		}
	}
	for _, service := range slices.Sorted(maps.Keys(all)) {
		t.Logf("%s: %d of %d calls are answered as production answers", service, right[service], all[service])
	}
	t.Logf("%d of the others are explained", excused)
}

// run makes the call and compares.
func (r *row) run(t *testing.T, host string) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got any
	var codeName string
	var err error
	if r.Service == "storage" {
		codeName, got, err = r.http(ctx, host)
	} else {
		codeName, got, err = r.grpc(ctx, host)
	}
	if err != nil {
		return err
	}
	if codeName != r.Code {
		return fmt.Errorf("%s %v, want %s", codeName, got, r.Code)
	}
	if r.Docs != nil {
		if ids := docs(got); !slices.Equal(ids, r.Docs) {
			return fmt.Errorf("documents %q, want %q", ids, r.Docs)
		}
	}
	if !covers(got, r.Answer) {
		return fmt.Errorf("answer %v, want in it %v", got, r.Answer)
	}
	return nil
}

func (r *row) http(ctx context.Context, host string) (string, any, error) {
	verb, path, _ := strings.Cut(r.Call, " ")
	req, err := http.NewRequestWithContext(ctx, verb, "http://"+host+path, bytes.NewReader(r.Request))
	if err != nil {
		return "", nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", nil, err
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		v = string(raw)
	}
	return strconv.Itoa(resp.StatusCode), v, nil
}

// methods are those of the services in the table.
func method(service, name string) protoreflect.MethodDescriptor {
	list := []protoreflect.ServiceDescriptor{firestorepb.File_google_firestore_v1_firestore_proto.Services().ByName("Firestore")}
	if service == "pubsub" {
		s := pubsubpb.File_google_pubsub_v1_pubsub_proto.Services()
		list = []protoreflect.ServiceDescriptor{s.ByName("Publisher"), s.ByName("Subscriber")}
	}
	for _, s := range list {
		if m := s.Methods().ByName(protoreflect.Name(name)); m != nil {
			return m
		}
	}
	return nil
}

func (r *row) grpc(ctx context.Context, host string) (string, any, error) {
	m := method(r.Service, r.Call)
	if m == nil {
		return "", nil, fmt.Errorf("there is no method %s", r.Call)
	}
	in, err := message(m.Input())
	if err == nil {
		err = protojson.Unmarshal(r.Request, in)
	}
	if err != nil {
		return "", nil, fmt.Errorf("request: %w", err)
	}
	conn, err := grpc.NewClient(host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = conn.Close() }()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer owner")
	full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	var got any
	if m.IsStreamingServer() {
		got, err = stream(ctx, conn, full, m, in)
	} else {
		out, failed := message(m.Output())
		if failed != nil {
			return "", nil, failed
		}
		if err = conn.Invoke(ctx, full, in, out); err == nil {
			got, err = plain(out)
		}
	}
	if err != nil {
		got = map[string]any{"message": status.Convert(err).Message()}
	}
	return code.Code(status.Code(err)).String(), got, nil
}

func stream(ctx context.Context, conn *grpc.ClientConn, full string, m protoreflect.MethodDescriptor, in proto.Message) (any, error) {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err == nil {
		err = errors.Join(s.SendMsg(in), s.CloseSend())
	}
	list := []any{}
	for err == nil {
		var out proto.Message
		if out, err = message(m.Output()); err != nil {
			break
		}
		if err = s.RecvMsg(out); err == nil {
			var v any
			v, err = plain(out)
			list = append(list, v)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return list, err
}

func message(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, err
	}
	return t.New().Interface(), nil
}

func plain(m proto.Message) (v any, err error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	return v, json.Unmarshal(raw, &v)
}

func docs(list any) []string {
	ids := []string{}
	rows, _ := list.([]any)
	for _, v := range rows {
		m, _ := v.(map[string]any)
		doc, _ := m["document"].(map[string]any)
		if name, ok := doc["name"].(string); ok {
			ids = append(ids, name[strings.LastIndexByte(name, '/')+1:])
		}
	}
	return ids
}

// covers says whether all of want is in got. A list has as many elements, an empty object is nothing, and
// null is what is not there.
func covers(got, want any) bool {
	switch w := want.(type) {
	case nil:
		return true
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range w {
			have, there := g[k]
			if v == nil && there || !covers(have, v) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !covers(g[i], w[i]) {
				return false
			}
		}
		return true
	case string:
		g, ok := got.(string)
		if part, is := strings.CutPrefix(w, "~"); is && ok {
			return strings.Contains(g, part)
		}
		return ok && g == w
	}
	return got == want
}
