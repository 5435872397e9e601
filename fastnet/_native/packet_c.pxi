# The C functions for packets: csrc/packet.h documents them.

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PY_SSIZE_T_MAX

cdef extern from *:
    """
    static inline PyObject *fn_new_object(PyTypeObject *type, PyObject *arguments)
    {
        return type->tp_new(type, arguments, NULL);
    }
    """
    object fn_new_object(type cls, tuple arguments)

cdef extern from *:
    """
    /* A flag for data written before it: a thread that sees the flag may read the data, also without a GIL. */
    static inline int fn_is_published(const char *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
    static inline void fn_publish(char *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELEASE); }
    """
    bint fn_is_published(const char *flag) noexcept nogil
    void fn_publish(char *flag) noexcept nogil

cdef extern from "arpa/inet.h":
    int AF_INET, AF_INET6
    int inet_pton(int family, const char *text, void *out) nogil

cdef extern from "packet.h":
    ctypedef uint16_t fn_sum_fn(const uint8_t *data, size_t len, uint16_t initial) noexcept nogil
    struct fn_checksum_kernel:
        const char *name
        fn_sum_fn *sum
    enum:
        FN_CHECKSUM_KERNELS
    size_t fn_checksum_kernels(const fn_checksum_kernel **out) noexcept nogil

    enum:
        FN_PAYLOAD, FN_PADDING, FN_SURPLUS, FN_ETHERNET, FN_DOT3, FN_LLC, FN_SNAP, FN_DOT1Q, FN_DOT1AD, FN_SLL, FN_SLL2
        FN_NULL, FN_LOOP, FN_MPLS, FN_PPPOE, FN_PPP, FN_ARP, FN_IPV4, FN_IPV6, FN_HOP_BY_HOP, FN_DESTINATION
        FN_ROUTING, FN_FRAGMENT, FN_AH, FN_ESP, FN_MOBILITY, FN_GRE, FN_ICMP_EXTENSIONS, FN_ICMP, FN_ICMPV6, FN_UDP
        FN_TCP, FN_SCTP, FN_DCCP, FN_KINDS
    enum:
        FN_LINK_ETHERNET, FN_LINK_IPV4, FN_LINK_IPV6, FN_LINK_IP, FN_LINK_NULL, FN_LINK_LOOP, FN_LINK_SLL, FN_LINK_SLL2
    enum:
        FN_PACKET_TRUNCATED, FN_PACKET_VERSION, FN_PACKET_LENGTH, FN_PACKET_TOO_DEEP, FN_PACKET_TOO_LONG
    enum:
        FN_PACKET_LAYERS, FN_PACKET_HEADERS, FN_DOT3_LIMIT
    enum:
        FN_AUTO_LENGTH, FN_AUTO_PROTOCOL, FN_AUTO_CHECKSUM
    struct fn_packet:
        uint32_t *offsets
        uint8_t *kinds
        uint8_t count
        uint8_t error_kind
        int8_t error
        uint8_t error_limit
        uint32_t error_offset
    struct fn_part:
        const uint8_t *header
        uint32_t length
        uint16_t sum
        uint8_t kind
        uint8_t automatic
    int fn_packet_scan(const uint8_t *data, uint32_t len, int link, fn_packet *packet) noexcept nogil
    int fn_packet_network(const fn_packet *packet) noexcept nogil
    int fn_packet_transport(const fn_packet *packet) noexcept nogil
    int fn_packet_protocol(const uint8_t *data, const fn_packet *packet) noexcept nogil
    int fn_packet_verify(const uint8_t *data, const fn_packet *packet, fn_sum_fn *sum, uint32_t *expected) noexcept nogil
    int fn_packet_checksum(const uint8_t *data, const fn_packet *packet, int layer) noexcept nogil
    struct fn_form:
        const char *name
        uint8_t least
        uint8_t step
        uint8_t most
    struct fn_wrong_option:
        const fn_form *form
        uint32_t offset
        uint32_t size
    int fn_packet_malformed(const uint8_t *data, const fn_packet *packet, fn_wrong_option *wrong) noexcept nogil
    int fn_part_field(int kind, int automatic) noexcept nogil
    uint8_t fn_part_automatic(const fn_part *part, uint8_t automatic) noexcept nogil
    void fn_part_sum(fn_part *part, fn_sum_fn *sum) noexcept nogil
    uint64_t fn_packet_size(const fn_part **parts, size_t count) noexcept nogil
    int fn_packet_build(const fn_part **parts, size_t count, uint8_t *out, size_t *bad) noexcept nogil
    enum:
        FN_TEMPLATE_FIELDS
    struct fn_template_field:
        uint32_t part
        uint32_t first
        uint8_t size
        uint8_t shift
        uint64_t limit
    struct fn_template:
        uint32_t length
        uint32_t field_count
        fn_template_field *fields
    bint fn_template_refuses(const fn_part **parts, size_t owner, size_t i, uint32_t bit) noexcept nogil
    void fn_template_prepare(fn_template *template, const fn_part **parts, size_t count, uint32_t updated, uint8_t *data, uint32_t length) noexcept nogil
    void fn_template_build(const fn_template *template, const uint64_t *values, uint8_t *out) noexcept nogil
    void fn_template_build_many(const fn_template *template, const uint64_t **columns, size_t count, uint8_t *out) noexcept nogil
    size_t fn_text_ipv4(const uint8_t *address, char *out) noexcept nogil
    size_t fn_text_ipv6(const uint8_t *address, char *out) noexcept nogil
    size_t fn_text_mac(const uint8_t *address, char *out) noexcept nogil
