# The C functions of the relay: csrc/relay.h and csrc/http_head.h document them.

cdef extern from "<netinet/in.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        AF_UNIX
    struct sockaddr:
        unsigned short sa_family
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    struct sockaddr_storage:
        unsigned short ss_family
    unsigned short htons(unsigned short)
    unsigned short ntohs(unsigned short)

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        char *sun_path

cdef extern from "http_head.h" nogil:
    struct fn_http_rewrite:
        pass
    struct fn_http_text:
        const char *data
        size_t len
    fn_http_rewrite *fn_http_rewrite_new(const fn_http_text *names, size_t count, fn_http_text port,
                                         fn_http_text upstream, bint always, bint responses)
    void fn_http_rewrite_add_origin(fn_http_rewrite *rewrite)

cdef extern from "relay.h" nogil:
    struct fn_relay:
        pass
    struct fn_rule:
        pass
    struct fn_upstream:
        pass
    struct fn_address:
        unsigned int len
        sockaddr_storage at
    fn_upstream *fn_upstream_new(const fn_address *addresses, unsigned count)
    void fn_upstream_release(fn_upstream *upstream)
    bint fn_upstream_healthy(const fn_upstream *upstream)
    void fn_upstream_set_healthy(fn_upstream *upstream, bint healthy)
    unsigned fn_upstream_active(const fn_upstream *upstream)
    unsigned fn_upstream_failures(const fn_upstream *upstream)

    struct fn_prefix:
        pass
    struct fn_prefixes:
        const fn_prefix *list
        size_t count
    int fn_prefix_set(fn_prefix *prefix, int family, const uint8_t *network, unsigned length)

    enum fn_policy:
        pass
    enum fn_engine:
        pass
    struct fn_rule_options:
        void *owner
        fn_http_rewrite *rewrite
        fn_policy policy
        fn_engine engine
        unsigned max_connections
        unsigned max_per_source
        unsigned source_prefix
        int64_t connect_timeout
        int64_t head_timeout
        int64_t keep_alive_timeout
        int64_t idle_timeout
        int64_t half_closed_timeout
        int64_t keepalive
        int64_t user_timeout
        uint64_t rate
        uint64_t connection_rate
        unsigned max_failures
        int64_t failure_pause
        fn_prefixes allow
        fn_prefixes deny
        fn_prefixes trust_proxy
        int send_proxy
        bint transparent
        bint record
        char *congestion
    fn_rule *fn_rule_new(const fn_rule_options *options, fn_upstream **upstreams, unsigned count)
    void fn_rule_hold(fn_rule *rule)
    void fn_rule_release(fn_rule *rule)
    void *fn_rule_owner(const fn_rule *rule)
    unsigned fn_rule_references(const fn_rule *rule)
    void fn_rule_watch(fn_rule *rule)
    int fn_rule_set_upstreams(fn_rule *rule, fn_upstream **upstreams, unsigned count)

    struct fn_counters:
        uint64_t accepted, active, unreachable, refused, denied, resets, timed_out, sent_up, sent_down
        uint64_t connects_retried
    void fn_rule_counters(fn_rule *rule, fn_counters *out)

    union fn_client:
        sockaddr any
        sockaddr_in in_ "in"
        sockaddr_in6 in6
    struct fn_record:
        fn_rule *rule
        uint64_t number
        fn_client client
        fn_upstream *upstream
        int ended
        int64_t opened
        int64_t duration
        uint64_t sent_up
        uint64_t sent_down
    const fn_address *fn_record_upstream(const fn_record *record)
    void fn_record_release(fn_record *record)

    struct fn_shortage:
        int error
        unsigned connections
    enum:
        FN_RUN_WHOLE
        FN_RUN_WARNS
        FN_RUN_FAILED
    int fn_relay_new(fn_relay **out, int64_t spin)
    void fn_relay_close(fn_relay *relay)
    void fn_relay_free(fn_relay *relay)
    void fn_relay_abandon(fn_relay *relay)
    int fn_relay_listen(fn_relay *relay, fn_rule *rule, const int *sockets, size_t count)
    void fn_relay_unlisten(fn_relay *relay, fn_rule *rule)
    int fn_relay_join(fn_relay *relay, fn_rule *rule, int first, int second)
    void fn_relay_drain(fn_relay *relay, int64_t timeout)
    int fn_relay_run(fn_relay *relay, fn_shortage *shortage)
    fn_rule *fn_relay_take_failure(fn_relay *relay)
    size_t fn_relay_records(fn_relay *relay, fn_record *out, size_t count)
    uint64_t fn_relay_lost_records(const fn_relay *relay)
    ssize_t fn_relay_connections(fn_relay *relay, fn_record **out)
