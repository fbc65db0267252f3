package apikey

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// TestUnknownValueInRecord: a field of a type that the client library does not know, as a newer server or a
// damaged answer has it, is damage like any other: the key is refused, and admins are shown it with no more
// than can be read. The library panics where it is asked for the whole document.
func TestUnknownValueInRecord(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	made, err := newStore(t, cloud, 0).Create(t.Context(), Draft{OrgID: "org1", Name: "n", Scopes: []Scope{ScopeRead}, ExpiresAt: time.Now().Add(time.Hour)}, by)
	if err != nil {
		t.Fatal(err)
	}
	unknown := &firestorepb.Value{}
	list := &firestorepb.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: []*firestorepb.Value{unknown}}}}
	inMap := &firestorepb.Value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: map[string]*firestorepb.Value{"x": unknown}}}}
	for _, field := range []string{"orgId", "scopes", "state", "name", "secrets", "audit", "expiresAt", "another"} {
		for kind, v := range map[string]*firestorepb.Value{"itself": unknown, "in a list": list, "in a map": inMap} {
			t.Run(field+" "+kind, func(t *testing.T) {
				reach := append(localcloud.GRPCOptions(cloud.Endpoints().Firestore), option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(setting(field, v))))
				client, err := firestore.NewClient(t.Context(), localcloudtest.Project, reach...)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				s := newStore(t, cloud, 0, func(c *StoreConfig) { c.Client = client })
				if k, err := s.Fresh(t.Context(), made.ID); !errors.Is(err, jobs.ErrInvalid) && (err != nil || field != "another" || k.OrgID != "org1") {
					t.Errorf("Fresh() = %+v, %v", k, err)
				}
				got, _, err := s.Get(t.Context(), "", made.ID)
				keys, lerr := s.List(t.Context(), "")
				if err != nil || lerr != nil || len(keys) != 1 {
					t.Fatalf("Get() = %v, List() = %d, %v", err, len(keys), lerr)
				}
				for _, k := range []*Key{got, keys[0]} {
					scopes := map[bool][]Scope{true: {ScopePlatform}, false: {ScopeRead}}[field == "scopes"]
					if (k.State == Damaged) != (field != "another") || k.ID != made.ID || k.OrgID != map[bool]string{false: "org1"}[field == "orgId"] || !slices.Equal(k.Scopes, scopes) {
						t.Errorf("admins are shown %+v", k)
					}
				}
			})
		}
	}
}

// setting has a field of each document that is read come with a value.
func setting(field string, v *firestorepb.Value) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := streamer(ctx, desc, cc, method, opts...)
		return &settingStream{s, field, v}, err
	}
}

type settingStream struct {
	grpc.ClientStream
	field string
	value *firestorepb.Value
}

func (s *settingStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	var doc *firestorepb.Document
	switch r := m.(type) {
	case *firestorepb.BatchGetDocumentsResponse:
		doc = r.GetFound()
	case *firestorepb.RunQueryResponse:
		doc = r.GetDocument()
	}
	if err == nil && doc != nil {
		doc.Fields[s.field] = s.value
	}
	return err
}
