package wan

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// header is the length of an Ethernet header, with room for a VLAN tag.
const header = 18

// mac returns the address of the ith host: locally administered, "HLG".
func mac(i int) [6]byte { return [6]byte{0x02, 'H', 'L', 'G', byte(i >> 8), byte(i)} }

// receiver returns the host that a frame is for; ok is false for broadcasts
// and strangers, which are dropped: every host knows all addresses.
func receiver(frame []byte, hosts int) (int, bool) {
	if len(frame) < 14 || [4]byte(frame[:4]) != [4]byte{0x02, 'H', 'L', 'G'} {
		return 0, false
	}
	i := int(frame[4])<<8 | int(frame[5])
	return i, i < hosts
}

// A fabric carries frames between the devices of its hosts: one goroutine
// reads each device, one hands over what was delayed.
type fabric struct {
	names   []string
	pipes   [][]*pipe // [from][to]
	devices []io.ReadWriteCloser
	queue   *queue
	sl      sleeper
	begun   time.Time
	buffers sync.Pool
	wg      sync.WaitGroup
}

func newFabric(seed uint64, names []string, mtu int, devices []io.ReadWriteCloser, sl sleeper) *fabric {
	f := &fabric{names: names, devices: devices, sl: sl, begun: time.Now()}
	f.buffers.New = func() any { return &buffer{data: make([]byte, mtu+header)} }
	for _, from := range names {
		row := make([]*pipe, len(names))
		for j, to := range names {
			row[j] = newPipe(seed, from, to)
		}
		f.pipes = append(f.pipes, row)
	}
	f.queue = newQueue(sl, f.now, f.hand)
	for i := range devices {
		f.wg.Go(func() { f.read(i) })
	}
	f.wg.Go(f.deliver)
	return f
}

func (f *fabric) now() time.Duration { return time.Since(f.begun) }

// read takes what a host sends until its device is closed.
func (f *fabric) read(from int) {
	buf := f.take()
	for {
		n, err := f.devices[from].Read(buf.data)
		if err != nil {
			return
		}
		to, ok := receiver(buf.data[:n], len(f.names))
		if !ok || to == from {
			continue
		}
		p := f.pipes[from][to]
		fate := p.send(f.now(), n)
		switch {
		case fate.copies == 0:
		case fate.direct:
			f.write(p, to, buf.data[:n])
		default:
			buf.n, buf.uses = n, fate.copies
			for _, due := range fate.due[:fate.copies] {
				f.queue.add(parcel{due: due, pipe: p, to: to, buf: buf})
			}
			buf = f.take()
		}
	}
}

// hand hands over a parcel that is due.
func (f *fabric) hand(p parcel) {
	if p.pipe.arrive() {
		f.write(p.pipe, p.to, p.buf.data[:p.buf.n])
	}
	p.buf.mu.Lock()
	p.buf.uses--
	last := p.buf.uses == 0
	p.buf.mu.Unlock()
	if last {
		f.buffers.Put(p.buf)
	}
}

// write gives a frame to a host. A device that is down drops it, as a real one.
func (f *fabric) write(p *pipe, to int, frame []byte) {
	f.devices[to].Write(frame) //nolint:errcheck // see above
	p.done(len(frame))
}

func (f *fabric) take() *buffer { return f.buffers.Get().(*buffer) }

// Hosts implements Links.
func (f *fabric) Hosts() []string { return slices.Clone(f.names) }

func (f *fabric) pipe(from, to string) (*pipe, error) {
	i, j := slices.Index(f.names, from), slices.Index(f.names, to)
	if i < 0 || j < 0 {
		return nil, fmt.Errorf("link from %q to %q: %w", from, to, ErrNoHost)
	}
	return f.pipes[i][j], nil
}

// Set implements Links.
func (f *fabric) Set(from, to string, l Link) error {
	p, err := f.pipe(from, to)
	if err == nil {
		err = l.Validate()
	}
	if err == nil {
		p.set(l)
	}
	return err
}

// Link implements Links.
func (f *fabric) Link(from, to string) (Link, error) {
	p, err := f.pipe(from, to)
	if err != nil {
		return Link{}, err
	}
	l, _ := p.get()
	return l, nil
}

// Counters implements Links.
func (f *fabric) Counters(from, to string) (Counters, error) {
	p, err := f.pipe(from, to)
	if err != nil {
		return Counters{}, err
	}
	return p.counters(), nil
}

// close ends all goroutines and closes the devices.
func (f *fabric) close() {
	f.queue.close()
	for _, d := range f.devices {
		d.Close() //nolint:errcheck // nothing is kept in it
	}
	f.wg.Wait()
	f.sl.close()
}
