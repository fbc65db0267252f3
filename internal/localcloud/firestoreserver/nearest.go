package firestoreserver

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
)

func (s *Server) findNearest(database, *fsquery.Query, *reading, firestorepb.Firestore_RunQueryServer) error {
	return status.Error(codes.Unimplemented, "Nearest-neighbour search is not served.")
}
