package docwatch

import (
	"context"
	"fmt"
	"io"
	"strings"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// decoder makes the official client's snapshots of documents that came on a stream. The client has no other
// way to make one than to read it, so it reads from a connection that leads nowhere and answers with the
// document in the context of the call.
type decoder struct {
	client *firestore.Client
	prefix string
}

type documentKey struct{}

func newDecoder(database string) (*decoder, error) {
	parts := strings.Split(database, "/")
	if len(parts) != 4 || parts[0] != "projects" || parts[2] != "databases" {
		return nil, fmt.Errorf("%q is not projects/P/databases/D", database)
	}
	conn, err := grpc.NewClient("passthrough:///nowhere", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStreamInterceptor(answer))
	if err != nil {
		return nil, fmt.Errorf("make a decoder of documents: %w", err)
	}
	client, err := firestore.NewClientWithDatabase(context.Background(), parts[1], parts[3], option.WithGRPCConn(conn))
	if err != nil {
		return nil, fmt.Errorf("make a decoder of documents: %w", err)
	}
	return &decoder{client, database + "/documents/"}, nil
}

func (d *decoder) close() error { return d.client.Close() }

// snapshot gives a document, or that there is none of the name.
func (d *decoder) snapshot(ctx context.Context, name string, doc *firestorepb.Document) (*firestore.DocumentSnapshot, error) {
	res := &firestorepb.BatchGetDocumentsResponse{ReadTime: timestamppb.Now(), Result: &firestorepb.BatchGetDocumentsResponse_Missing{Missing: name}}
	if doc != nil {
		res.Result = &firestorepb.BatchGetDocumentsResponse_Found{Found: doc}
	}
	// Nothing waits for anything here: a caller whose time is up still gets what came in time.
	ctx = context.WithValue(context.WithoutCancel(ctx), documentKey{}, res)
	snapshot, err := d.client.Doc(strings.TrimPrefix(name, d.prefix)).Get(ctx)
	if status.Code(err) == codes.NotFound {
		err = nil
	}
	return snapshot, err
}

// answer is the stream of BatchGetDocuments that answers with the context's document.
func answer(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ grpc.Streamer, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	res, ok := ctx.Value(documentKey{}).(*firestorepb.BatchGetDocumentsResponse)
	if !ok || method != firestorepb.Firestore_BatchGetDocuments_FullMethodName {
		return nil, status.Errorf(codes.Unimplemented, "%s is not for a decoder", method)
	}
	return &answerStream{ctx: ctx, res: res}, nil
}

type answerStream struct {
	ctx context.Context //nolint:containedctx // a stream has it
	res *firestorepb.BatchGetDocumentsResponse
}

func (s *answerStream) RecvMsg(m any) error {
	if s.res == nil {
		return io.EOF
	}
	proto.Merge(m.(proto.Message), s.res) //nolint:forcetypeassert // of a generated client
	s.res = nil
	return nil
}

func (s *answerStream) Context() context.Context   { return s.ctx }
func (*answerStream) SendMsg(any) error            { return nil }
func (*answerStream) CloseSend() error             { return nil }
func (*answerStream) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (*answerStream) Trailer() metadata.MD         { return nil }
