package jobstore_test

import (
	"context"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
	"exportd/jobs/jobstest"
)

// TestUnknownValue: a value of a type that the client library does not know, as a newer server or a damaged
// answer has it, is damage like any other. The library panics at it where a whole document is asked for,
// which ended the process.
func TestUnknownValue(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"state", "lease", "partsTotal"} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			cloud := localcloudtest.Start(t)
			reach := append(localcloud.GRPCOptions(cloud.Endpoints().Firestore), option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(unknown(field))))
			client, err := firestore.NewClient(t.Context(), localcloudtest.Project, reach...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			c := jobstest.NewClock()
			b := bench{Store: jobstore.New(jobstore.Config{Client: client, Policy: policy(), ReuseFor: time.Minute, Now: c.Now}), clock: c}
			id := b.submit(t, request("org", 1)).Job.ID
			j := b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
			if j.State != jobs.Failed || j.Error.Code != jobs.CodeInvalidJob {
				t.Errorf("the job is %s: %+v", j.State, j.Error)
			}
		})
	}
}

// unknown has a field of each document that is got come without any type that is known.
func unknown(field string) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := streamer(ctx, desc, cc, method, opts...)
		return &unknowing{s, field}, err
	}
}

type unknowing struct {
	grpc.ClientStream
	field string
}

func (u *unknowing) RecvMsg(m any) error {
	err := u.ClientStream.RecvMsg(m)
	if r, ok := m.(*firestorepb.BatchGetDocumentsResponse); ok && err == nil && r.GetFound() != nil {
		r.GetFound().Fields[u.field] = &firestorepb.Value{}
	}
	return err
}
