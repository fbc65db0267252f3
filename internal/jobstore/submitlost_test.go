package jobstore_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
	"exportd/jobs/jobstest"
)

// loser has the answers of a number of commits be lost, and with each that of the look whether it stands.
type loser struct {
	commits, looks atomic.Int32
}

func (l *loser) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	if method == "/google.firestore.v1.Firestore/Commit" && err == nil && l.commits.Add(-1) >= 0 {
		l.looks.Add(1)
		return status.Error(codes.Aborted, "the answer is lost")
	}
	return err
}

func (l *loser) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if method == "/google.firestore.v1.Firestore/BatchGetDocuments" && l.looks.CompareAndSwap(1, 0) {
		return nil, status.Error(codes.FailedPrecondition, "the look is lost")
	}
	return streamer(ctx, desc, cc, method, opts...)
}

// TestSubmitLost: a request whose commit's answer is lost, and that of the look whether it stands too, gets
// the job that it has made: as its own, so that workers are notified, and not refused for what that has
// reserved.
func TestSubmitLost(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	lost := &loser{}
	client, err := firestore.NewClient(t.Context(), localcloudtest.Project, append(localcloud.GRPCOptions(cloud.Endpoints().Firestore),
		option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(lost.unary)), option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(lost.stream)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	c := jobstest.NewClock()
	s := jobstore.New(jobstore.Config{Client: client, Policy: policy(), ReuseFor: time.Minute, Now: c.Now})
	month := 0
	for name, change := range map[string]func(*jobs.Submission){
		"a fresh one":        func(sub *jobs.Submission) { sub.Fresh = true },
		"one to be shared":   func(*jobs.Submission) {},
		"one by a key":       func(sub *jobs.Submission) { sub.IdempotencyKey = "once" },
		"one without budget": func(sub *jobs.Submission) { sub.Fresh, sub.Budget = true, nil },
	} {
		month++
		sub := request("org", month)
		sub.KeyID = "key_" + name
		sub.Budget = &jobs.BudgetRequest{Budget: jobs.Budget{Rows: 25}, Counted: true, AskRows: 20}
		change(&sub)
		lost.commits.Store(1)
		got, err := s.Submit(t.Context(), sub)
		if err != nil || got.Reused || got.Job.Fingerprint != sub.Fingerprint() {
			t.Errorf("%s = %+v, %v, want a job of its own", name, got, err)
		}
		if commits, looks := lost.commits.Load(), lost.looks.Load(); commits > 0 || looks != 0 {
			t.Errorf("%s: %d answers of commits and %d of looks are still to be lost", name, commits, looks)
		}
		days, err := s.BudgetDays(t.Context(), []string{sub.KeyID})
		if want := int64(20); err != nil || sub.Budget != nil && days[0].Rows != want {
			t.Errorf("%s: %+v is spent, %v, want %d rows", name, days, err, want)
		}
		page, err := s.List(t.Context(), jobs.List{OrgID: "org", PageSize: 100})
		if err != nil || len(page.Jobs) != month {
			t.Errorf("%s: there are %d jobs, %v, want %d", name, len(page.Jobs), err, month)
		}
	}
}
