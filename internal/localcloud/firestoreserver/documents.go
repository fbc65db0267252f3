package firestoreserver

import (
	"context"
	"crypto/rand"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// database is one Firestore database as requests address it.
type database struct {
	name fsvalue.Database
	id   uint32
}

// database finds or makes the database: any well-formed name exists.
func (s *Server) database(name string) (database, error) {
	db, err := fsvalue.ParseDatabase(name)
	if err != nil {
		return database{}, err
	}
	return s.databaseOf(db)
}

func (s *Server) databaseOf(db fsvalue.Database) (database, error) {
	id, err := s.store.DatabaseID(db.String())
	if err != nil {
		return database{}, s.answer(err)
	}
	return database{db, id}, nil
}

// document parses a document name that must lie in db.
func (db database) document(name string) (fsvalue.Path, error) {
	p, err := fsvalue.ParseDocument(name)
	if err != nil {
		return p, err
	}
	if p.Database() != db.name {
		return p, invalid("Document %q is not in database %q.", name, db.name)
	}
	return p, nil
}

// GetDocument implements the RPC.
func (s *Server) GetDocument(ctx context.Context, req *firestorepb.GetDocumentRequest) (_ *firestorepb.Document, err error) {
	p, err := fsvalue.ParseDocument(req.GetName())
	if err != nil {
		return nil, err
	}
	db, err := s.databaseOf(p.Database())
	if err != nil {
		return nil, err
	}
	mask, err := parseMask(req.GetMask())
	if err != nil {
		return nil, err
	}
	r, err := s.open(ctx, consistency{
		db: db.id, names: []fsvalue.Path{p}, transaction: req.GetTransaction(), readTime: req.GetReadTime(),
	})
	if err != nil {
		return nil, err
	}
	defer r.close(&err)
	d, err := r.view.Get(db.id, p)
	if err != nil {
		return nil, s.answer(err)
	}
	r.txn.sawDocument(p, d)
	if d == nil {
		return nil, status.Errorf(codes.NotFound, "Document %q not found.", req.GetName())
	}
	m, err := message(d, mask)
	return m, s.answer(err)
}

// BatchGetDocuments implements the RPC: each name once, in order of the request.
func (s *Server) BatchGetDocuments(req *firestorepb.BatchGetDocumentsRequest, stream firestorepb.Firestore_BatchGetDocumentsServer) (err error) {
	db, err := s.database(req.GetDatabase())
	if err != nil {
		return err
	}
	mask, err := parseMask(req.GetMask())
	if err != nil {
		return err
	}
	seen := make(map[fsvalue.Path]bool, len(req.GetDocuments()))
	paths := make([]fsvalue.Path, 0, len(req.GetDocuments()))
	for _, name := range req.GetDocuments() {
		p, err := db.document(name)
		if err != nil {
			return err
		}
		if !seen[p] {
			seen[p] = true
			paths = append(paths, p)
		}
	}
	r, err := s.open(stream.Context(), consistency{db.id, paths, req.GetTransaction(), req.GetNewTransaction(), req.GetReadTime()})
	if err != nil {
		return err
	}
	defer r.close(&err)
	if r.begun != nil {
		if err := stream.Send(&firestorepb.BatchGetDocumentsResponse{Transaction: r.begun}); err != nil {
			return err
		}
	}
	for _, p := range paths {
		d, err := r.view.Get(db.id, p)
		if err != nil {
			return s.answer(err)
		}
		r.txn.sawDocument(p, d)
		resp, err := batchGetResponse(p, d, mask)
		if err != nil {
			return s.answer(err)
		}
		resp.ReadTime = r.time()
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
	return nil
}

func batchGetResponse(p fsvalue.Path, d *fsstore.Document, mask *fieldMask) (*firestorepb.BatchGetDocumentsResponse, error) {
	if d == nil {
		return &firestorepb.BatchGetDocumentsResponse{Result: &firestorepb.BatchGetDocumentsResponse_Missing{Missing: p.String()}}, nil
	}
	m, err := message(d, mask)
	if err != nil {
		return nil, err
	}
	return &firestorepb.BatchGetDocumentsResponse{Result: &firestorepb.BatchGetDocumentsResponse_Found{Found: m}}, nil
}

// CreateDocument implements the RPC.
func (s *Server) CreateDocument(ctx context.Context, req *firestorepb.CreateDocumentRequest) (*firestorepb.Document, error) {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return nil, err
	}
	if err := fsvalue.CheckCollectionID(req.GetCollectionId()); err != nil {
		return nil, err
	}
	id := req.GetDocumentId()
	if id == "" {
		id = rand.Text()[:20]
	}
	if err := fsvalue.CheckID(id); err != nil {
		return nil, err
	}
	p := parent.Child(req.GetCollectionId()).Child(id)
	w := &firestorepb.Write{
		Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{
			Name: p.String(), Fields: req.GetDocument().GetFields(),
		}},
		CurrentDocument: &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: false}},
	}
	return s.writeOne(ctx, p, w, req.GetMask())
}

// UpdateDocument implements the RPC.
func (s *Server) UpdateDocument(ctx context.Context, req *firestorepb.UpdateDocumentRequest) (*firestorepb.Document, error) {
	p, err := fsvalue.ParseDocument(req.GetDocument().GetName())
	if err != nil {
		return nil, err
	}
	w := &firestorepb.Write{
		Operation:       &firestorepb.Write_Update{Update: req.GetDocument()},
		UpdateMask:      req.GetUpdateMask(),
		CurrentDocument: req.GetCurrentDocument(),
	}
	return s.writeOne(ctx, p, w, req.GetMask())
}

// DeleteDocument implements the RPC.
func (s *Server) DeleteDocument(ctx context.Context, req *firestorepb.DeleteDocumentRequest) (*emptypb.Empty, error) {
	p, err := fsvalue.ParseDocument(req.GetName())
	if err != nil {
		return nil, err
	}
	db, err := s.databaseOf(p.Database())
	if err != nil {
		return nil, err
	}
	_, err = s.commit(ctx, db, []*firestorepb.Write{{
		Operation:       &firestorepb.Write_Delete{Delete: req.GetName()},
		CurrentDocument: req.GetCurrentDocument(),
	}}, nil)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// writeOne commits one write and returns the document as the commit left it.
func (s *Server) writeOne(ctx context.Context, p fsvalue.Path, w *firestorepb.Write, m *firestorepb.DocumentMask) (_ *firestorepb.Document, err error) {
	mask, err := parseMask(m)
	if err != nil {
		return nil, err
	}
	db, err := s.databaseOf(p.Database())
	if err != nil {
		return nil, err
	}
	resp, err := s.commit(ctx, db, []*firestorepb.Write{w}, nil)
	if err != nil {
		return nil, err
	}
	view, err := s.store.At(micros(resp.GetCommitTime()))
	if err != nil {
		return nil, s.answer(err)
	}
	r := &reading{view: view}
	defer r.close(&err)
	d, err := view.Get(db.id, p)
	if err != nil || d == nil {
		return nil, s.answer(err)
	}
	out, err := message(d, mask)
	return out, s.answer(err)
}
