package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"exportd/api/client"
)

// Exports a month of messages into a file. It may be interrupted and run again: then it attaches to the same
// job. TestRealService runs it.
func ExampleClient_Export() {
	ctx := context.Background()
	api, err := client.New(client.Config{
		BaseURL: os.Getenv("URL"), Key: os.Getenv("KEY"), Secret: os.Getenv("SECRET"),
	})
	if err != nil {
		log.Fatal(err)
	}
	result, err := api.Export(ctx, client.Request{
		Kind: client.KindVipMessages, WorkspaceID: os.Getenv("W"), MediumID: os.Getenv("M"),
		From: os.Getenv("FROM"), To: os.Getenv("TO"),
		OnProgress: func(j *client.Job) { fmt.Fprintf(os.Stderr, "%s: %d %%\n", j.State, j.Progress.Percent) },
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := result.Save(ctx, "messages.csv"); err != nil {
		log.Fatal(err)
	}
	fmt.Println("messages.csv has", result.TotalCount, "rows")
}

// standIn answers as a service does whose job has ended, so that the examples below run without one.
func standIn() *httptest.Server {
	const file, id = "fullName,ltv\nAda Lovelace,120\nGrace Hopper,80\n", "abcdefghijklmnopqrstuvwxyz"
	rows, size, sum := int64(2), int64(len(file)), "tzUCOw=="
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	link := server.URL + "/file"
	mux.HandleFunc("GET /vip-users/export", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/exports/"+id)
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /exports/"+id, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(client.Job{JobID: id, State: client.StateSucceeded, TotalCount: &rows, SizeBytes: &size, Crc32C: &sum, CSVURL: &link})
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, file) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "request-1")
		http.Error(w, `{"message": "no such job"}`, http.StatusNotFound)
	})
	return server
}

// The file of an export goes wherever there is an io.Writer, checked on its way.
func ExampleResult_Download() {
	service := standIn()
	defer service.Close()
	api, err := client.New(client.Config{BaseURL: service.URL, Key: "key_1", Secret: "the key's secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer api.CloseIdleConnections()
	ctx := context.Background()
	result, err := api.Export(ctx, client.Request{Kind: client.KindVipUsers, WorkspaceID: "w1", MediumID: "m1"})
	if err != nil {
		log.Fatal(err)
	}
	size, err := result.Download(ctx, os.Stdout)
	fmt.Println(result.TotalCount, "rows,", size, "bytes,", err)
	// Output:
	// fullName,ltv
	// Ada Lovelace,120
	// Grace Hopper,80
	// 2 rows, 46 bytes, <nil>
}

// Answers of 400 and above are errors that can be told apart.
func ExampleError() {
	service := standIn()
	defer service.Close()
	api, err := client.New(client.Config{BaseURL: service.URL, Key: "key_1", Secret: "the key's secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer api.CloseIdleConnections()
	_, err = api.GetJob(context.Background(), "bcdefghijklmnopqrstuvwxyza")
	if e, ok := errors.AsType[*client.Error](err); ok && e.Status == http.StatusNotFound {
		fmt.Println(err)
	}
	// Output: job bcdefghijklmnopqrstuvwxyza: no such job (404 Not Found, request request-1)
}

// SetSignature2 signs requests that are made without the Client; the service takes each once.
func ExampleSetSignature2() {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://exportd.example.com/limits", nil)
	if err != nil {
		log.Fatal(err)
	}
	client.SetSignature2(r, nil, "key_1", "the key's secret", time.Now())
	fmt.Println(r.Header.Get("X-Signature-Version"), len(r.Header.Get("X-Signature")))
	// Output: 2 64
}
