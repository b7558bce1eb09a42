# The usual targets; `make` alone builds the binary. CI runs .ci/run.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: build test race lint fuzz bench ci clean
build:
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/hallig ./cmd/hallig

test:
	go test ./...

race:
	go test -race -short ./...

lint:
	gofmt -l . && go vet ./... && golangci-lint run

fuzz:
	.ci/fuzz 60

# Beside MinIO and VersityGW; writes docs/performance.md. Hours with the defaults.
bench:
	go run ./bench/peers

ci:
	.ci/run

clean:
	rm -rf bin .ci/cache
